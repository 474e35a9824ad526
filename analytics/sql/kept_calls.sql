-- The calls that a filter record keeps: their cost by the chosen prices and what one token of each kind of input costs, all
-- in $currency, by the rate of each day (NULL where none is known).
SELECT c.* REPLACE (
    c.cost / c.usd AS cost, c.uncached_input_rate / c.usd AS uncached_input_rate, c.cache_read_rate / c.usd AS cache_read_rate,
    c.cache_write_rate / c.usd AS cache_write_rate, c.cache_write_1h_rate / c.usd AS cache_write_1h_rate,
    c.audio_input_rate / c.usd AS audio_input_rate, c.image_input_rate / c.usd AS image_input_rate)
FROM (
    SELECT r.*, CASE WHEN $currency = 'USD' THEN 1 ELSE e.usd END AS usd
    FROM {rated} AS r
    LEFT JOIN exchange_rates AS e ON e.currency = $currency AND r.date >= e.from_day AND r.date < e.until_day
) AS c
WHERE {filter_spans} AND {filter_review}
