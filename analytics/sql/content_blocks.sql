-- Sealed content blocks of one day and tenant by id.
SELECT block_id, ids_hash, ct
FROM lake.content
WHERE date = $day::DATE AND tenant = $tenant AND block_id IN (SELECT unnest($ids::BLOB[]))
