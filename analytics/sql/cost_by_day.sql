-- Cost, calls, tokens and errors by time step ($step: hour | day) and one dimension ($by). Cost is in $currency, by the rate of
-- each day.
WITH facts AS ({facts})
SELECT date_trunc($step, hour) AS time, {dimension} AS key,
    sum(calls)::BIGINT AS calls, sum(errors)::BIGINT AS errors, {cost_sum} AS cost,
    sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
    sum(cache_read_tokens)::BIGINT AS cache_read_tokens, sum(unpriced_calls)::BIGINT AS unpriced_calls,
    latency_quantile(merge_latency(latency_buckets), 0.95) AS p95_ms
FROM facts
LEFT JOIN exchange_rates AS e ON e.currency = $currency AND date >= e.from_day AND date < e.until_day
GROUP BY ALL
ORDER BY time, key
