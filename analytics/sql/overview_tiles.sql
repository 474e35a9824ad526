-- The tiles of the overview: this period and the one of the same length before it (the row `previous`).
-- The filter's range is read from the start of the period before on; $split is where this one begins.
WITH facts AS ({facts}),
numbers AS (
    SELECT CASE WHEN hour >= $split::TIMESTAMP THEN 'current' ELSE 'previous' END AS period,
        sum(calls)::BIGINT AS calls, sum(errors)::BIGINT AS errors, sum(canceled)::BIGINT AS canceled,
        sum(errors) / sum(calls) AS error_rate,
        sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
        sum(cache_read_tokens)::BIGINT AS cache_read_tokens,
        sum(cost_exact)::DOUBLE AS cost, sum(priced_calls)::BIGINT AS priced_calls,
        sum(unpriced_calls)::BIGINT AS unpriced_calls,
        sum(calls - greatest(known_input_tokens, known_output_tokens))::BIGINT AS calls_without_usage,
        round(sum(duration_ms) / sum(calls), 3) AS mean_ms,
        latency_quantile(merge_latency(latency_buckets), 0.5) AS p50_ms,
        latency_quantile(merge_latency(latency_buckets), 0.95) AS p95_ms
    FROM facts
    GROUP BY period
)
SELECT p.period, coalesce(n.calls, 0) AS calls, coalesce(n.errors, 0) AS errors, coalesce(n.canceled, 0) AS canceled,
    n.error_rate, n.input_tokens, n.output_tokens, n.cache_read_tokens, n.cost, coalesce(n.priced_calls, 0) AS priced_calls,
    coalesce(n.unpriced_calls, 0) AS unpriced_calls, coalesce(n.calls_without_usage, 0) AS calls_without_usage,
    n.mean_ms, n.p50_ms, n.p95_ms
FROM (VALUES ('current'), ('previous')) AS p(period)
LEFT JOIN numbers AS n USING (period)
ORDER BY p.period
