-- What one unit of a currency is worth in USD, from each day on until the next stated one; before the first it counts too.
CREATE VIEW exchange_rates AS
SELECT currency, day, usd,
    coalesce(lead(day) OVER (PARTITION BY currency ORDER BY day), DATE '9999-12-31') AS until_day
FROM book.exchange
