-- The calls of one day as the rollup takes them: each begins to count once. Used to compute the rollup anew.
SELECT date, start_time, tenant, project, service_name, environment, operation, key_label, status, provider,
    request_model, response_model, service_tier, web_searches, {usage_names},
    least(duration_ms * 1e6, 9.2e18)::BIGINT AS duration_ns, 1::BIGINT AS sign
FROM lake.calls AS c
WHERE date = $day::DATE
