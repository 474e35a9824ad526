-- Numbers by hour and dimension from the rollup: for filters that the rollup knows.
SELECT date, hour, tenant, project, service_name, environment, provider, model, operation, key_label, calls, errors,
    canceled, {usage_names}, cost_exact, priced_calls, unpriced_calls, known_input_tokens, known_output_tokens,
    duration_ms, latency_buckets
FROM rollup_hourly
WHERE {filter_rollup}
