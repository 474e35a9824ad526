-- The same numbers from the calls themselves: for filters by status, tag, text or review state, and for cost by other
-- prices than those that were true at the time. The hour in which one period ends and the next one begins ($split)
-- gives two rows: the second counts from that moment on.
SELECT date,
    greatest(date_trunc('hour', start_time), CASE WHEN start_time >= $split::TIMESTAMP THEN $split::TIMESTAMP END) AS hour,
    tenant, project, service_name, environment, provider,
    coalesce(response_model, request_model) AS model, operation, key_label, count(*) AS calls,
    count(*) FILTER (status = 'error') AS errors, count(*) FILTER (status = 'canceled') AS canceled,
    {usage_sums},
    sum(cost::DECIMAL(38, 12)) AS cost_exact, count(cost) AS priced_calls,
    count(*) FILTER (price_confidence = 'unpriced') AS unpriced_calls,
    count(*) FILTER (input_tokens IS NOT NULL OR status = 'error') AS known_input_tokens,
    count(*) FILTER (output_tokens IS NOT NULL OR status = 'error') AS known_output_tokens,
    sum(greatest(duration_ms, 0)) AS duration_ms, {latency_counts} AS latency_buckets
FROM {priced} AS c
WHERE {filter_spans} AND {filter_review}
GROUP BY ALL
