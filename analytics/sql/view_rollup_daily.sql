-- rollup_hourly by UTC day.
CREATE VIEW rollup_daily AS
SELECT date, tenant, project, service_name, environment, provider, model, operation, key_label,
    sum(calls)::BIGINT AS calls, sum(errors)::BIGINT AS errors, sum(canceled)::BIGINT AS canceled,
    {usage_sums},
    CASE WHEN sum(priced_calls) > 0 THEN sum(cost_exact)::DOUBLE END AS cost, sum(cost_exact) AS cost_exact,
    sum(priced_calls)::BIGINT AS priced_calls, sum(unpriced_calls)::BIGINT AS unpriced_calls,
    sum(known_input_tokens)::BIGINT AS known_input_tokens, sum(known_output_tokens)::BIGINT AS known_output_tokens,
    sum(duration_ms) AS duration_ms, merge_latency(latency_buckets) AS latency_buckets
FROM rollup_hourly
GROUP BY date, tenant, project, service_name, environment, provider, model, operation, key_label
