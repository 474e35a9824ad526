-- Hourly rollup rows of calls that begin (sign 1) or cease (sign -1) to count, over the priced relation of
-- sql/cost.sql. Sums are exact: deltas of any batching add up to what a rebuild gives. A failed call
-- has no usage to report: it counts among those whose usage is known. A call that ended before it began took no time.
SELECT
    date, time_bucket(INTERVAL 1 HOUR, start_time) AS hour, tenant, project, service_name, environment, provider,
    coalesce(response_model, request_model) AS model, operation, key_label,
    sum(sign)::BIGINT AS calls,
    sum(sign) FILTER (status = 'error')::BIGINT AS errors,
    sum(sign) FILTER (status = 'canceled')::BIGINT AS canceled,
    {usage_sums},
    sum(sign) FILTER (input_tokens IS NOT NULL OR status = 'error')::BIGINT AS known_input_tokens,
    sum(sign) FILTER (output_tokens IS NOT NULL OR status = 'error')::BIGINT AS known_output_tokens,
    sum(sign * cost::DECIMAL(38, 12))::DECIMAL(38, 12) AS cost,
    sum(sign) FILTER (cost IS NOT NULL)::BIGINT AS priced_calls,
    sum(sign) FILTER (price_confidence = 'unpriced')::BIGINT AS unpriced_calls,
    sum(sign * greatest(duration_ns, 0) / 1e6) AS duration_ms,
    {latency_counts}
FROM (
    SELECT *, least(floor(2 * log2(greatest(duration_ns / 1e6, 1)))::TINYINT, {last_bucket}) AS bucket
    FROM ({priced})
)
GROUP BY ALL
