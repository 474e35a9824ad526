-- Cost, calls, tokens and errors by time step ($step: hour | day) and one dimension ($by).
WITH facts AS ({facts})
SELECT date_trunc($step, hour) AS time, {dimension} AS key,
    sum(calls)::BIGINT AS calls, sum(errors)::BIGINT AS errors, sum(cost_exact)::DOUBLE AS cost,
    sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
    sum(cache_read_tokens)::BIGINT AS cache_read_tokens, sum(unpriced_calls)::BIGINT AS unpriced_calls,
    latency_quantile(merge_latency(latency_buckets), 0.95) AS p95_ms
FROM facts
GROUP BY ALL
ORDER BY time, key
