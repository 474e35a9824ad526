-- Calls by hour and dimension: the sum of the stored deltas. latency_buckets[i] counts durations in
-- [2^((i-1)/2), 2^(i/2)) ms, i = 1..40, the first also what is shorter; add them up with merge_latency(), read them with
-- latency_quantile().
CREATE VIEW rollup_hourly AS
SELECT date, hour, tenant, project, service_name, environment, provider, model, operation, key_label,
    sum(calls)::BIGINT AS calls, sum(errors)::BIGINT AS errors, sum(canceled)::BIGINT AS canceled,
    {usage_sums},
    CASE WHEN sum(priced_calls) > 0 THEN sum(cost)::DOUBLE END AS cost, sum(cost) AS cost_exact,
    sum(priced_calls)::BIGINT AS priced_calls, sum(unpriced_calls)::BIGINT AS unpriced_calls,
    sum(known_input_tokens)::BIGINT AS known_input_tokens, sum(known_output_tokens)::BIGINT AS known_output_tokens,
    sum(duration_ms) AS duration_ms, {latency_sums} AS latency_buckets
FROM lake.rollup
GROUP BY date, hour, tenant, project, service_name, environment, provider, model, operation, key_label
HAVING sum(calls) <> 0
