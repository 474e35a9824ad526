-- What one unit of a currency is worth in USD, from each stated day on until the next; the first counts before it as well.
CREATE VIEW exchange_rates AS
SELECT currency, day, usd,
    CASE WHEN lag(day) OVER stated IS NULL THEN DATE '0001-01-01' ELSE day END AS from_day,
    coalesce(lead(day) OVER stated, DATE '9999-12-31') AS until_day
FROM book.exchange
WINDOW stated AS (PARTITION BY currency ORDER BY day)
