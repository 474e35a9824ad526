-- The values that the filter widgets offer, most used first: dimension, value, calls. From the rollup. The 1,000 most
-- used of each dimension, and none over 500 characters: whoever may send could else fill every page with them.
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
WHERE value IS NOT NULL AND length(value) <= 500
GROUP BY dimension, value
QUALIFY row_number() OVER (PARTITION BY dimension ORDER BY sum(calls) DESC, value) <= 1000
ORDER BY dimension, calls DESC, value
