-- Calls by hour and dimension: the sum of the stored deltas. latency_buckets[i] counts durations in
-- [2^((i-1)/2), 2^(i/2)) ms, i = 1..40, the first also what is shorter; add them up with merge_latency(), read them with
-- latency_quantile(). A delta leaves out what no call of it had; a sum of counts is 0 then.
CREATE VIEW rollup_hourly AS
SELECT date, hour, tenant, project, service_name, environment, provider, model, operation, key_label,
    sum(calls)::BIGINT AS calls, coalesce(sum(errors), 0)::BIGINT AS errors, coalesce(sum(canceled), 0)::BIGINT AS canceled,
    {usage_sums},
    CASE WHEN sum(priced_calls) > 0 THEN sum(cost)::DOUBLE END AS cost, sum(cost) AS cost_exact,
    coalesce(sum(priced_calls), 0)::BIGINT AS priced_calls, coalesce(sum(unpriced_calls), 0)::BIGINT AS unpriced_calls,
    coalesce(sum(known_input_tokens), 0)::BIGINT AS known_input_tokens,
    coalesce(sum(known_output_tokens), 0)::BIGINT AS known_output_tokens,
    sum(duration_ms) AS duration_ms, {latency_sums} AS latency_buckets
FROM lake.rollup
GROUP BY date, hour, tenant, project, service_name, environment, provider, model, operation, key_label
HAVING sum(calls) <> 0
