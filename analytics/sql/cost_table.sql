-- Spend by one dimension ($by) and a second one ($then_by, '' = none): unit price, cached share, unpriced calls. Cost is
-- in $currency, by the rate of each day.
WITH facts AS ({facts})
SELECT {dimension} AS key, {then_dimension} AS then_key, sum(calls)::BIGINT AS calls, sum(errors)::BIGINT AS errors,
    {cost_sum} AS cost, sum(input_tokens)::BIGINT AS input_tokens,
    sum(output_tokens)::BIGINT AS output_tokens, sum(cache_read_tokens)::BIGINT AS cache_read_tokens,
    sum(reasoning_tokens)::BIGINT AS reasoning_tokens,
    sum(cache_read_tokens) / nullif(sum(input_tokens), 0) AS cached_share,
    {cost_sum} / nullif(sum(priced_calls), 0) AS cost_per_call,
    sum(unpriced_calls)::BIGINT AS unpriced_calls,
    sum(calls - greatest(known_input_tokens, known_output_tokens))::BIGINT AS calls_without_usage,
    sum(errors) / sum(calls) AS error_rate, round(sum(duration_ms) / sum(calls), 3) AS mean_ms,
    latency_quantile(merge_latency(latency_buckets), 0.5) AS p50_ms,
    latency_quantile(merge_latency(latency_buckets), 0.95) AS p95_ms
FROM facts
LEFT JOIN exchange_rates AS e ON e.currency = $currency AND date >= e.from_day AND date < e.until_day
GROUP BY key, then_key
ORDER BY cost DESC NULLS LAST, calls DESC, key, then_key
LIMIT $limit
