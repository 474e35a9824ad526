-- Which snapshot this is and how old.
SELECT version, manifest_version, schema_version, published_at, book_version, spans FROM meta.snapshot
