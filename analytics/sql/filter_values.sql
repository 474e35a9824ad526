-- The values that the filter widgets offer, most used first: dimension, value, calls. From the rollup.
WITH facts AS (
    SELECT service_name, environment, project, key_label, provider, model, operation, tenant, sum(calls) AS calls
    FROM rollup_hourly
    WHERE {filter_rollup}
    GROUP BY ALL
),
pairs AS (
    SELECT unnest(['service', 'environment', 'project', 'key', 'provider', 'model', 'operation', 'tenant']) AS dimension,
        unnest([service_name, environment, project, key_label, provider, model, operation, tenant]) AS value, calls
    FROM facts
)
SELECT dimension, value, sum(calls)::BIGINT AS calls
FROM pairs
WHERE value IS NOT NULL
GROUP BY dimension, value
ORDER BY dimension, calls DESC, value
