-- The newest spans that the filter keeps, by time of receipt.
SELECT date, tenant, trace_id, span_id, name, operation, start_time, duration_ns / 1e6 AS duration_ms, status, service_name,
    provider, coalesce(response_model, request_model) AS model, input_tokens, output_tokens, received_time
FROM lake.spans AS c
WHERE {filter_spans} AND ($after::TIMESTAMP IS NULL OR received_time > $after::TIMESTAMP)
ORDER BY received_time DESC, start_time DESC
LIMIT $limit
