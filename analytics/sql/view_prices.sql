-- The price book, one row per provider, model, bucket, tier, context and period. Prices are USD per unit (token, request).
CREATE VIEW prices AS
SELECT * FROM book.prices
