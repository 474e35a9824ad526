-- The newest calls that the filter keeps, by time of receipt.
SELECT c.date, c.tenant, c.trace_id, c.span_id, c.name, c.operation, c.start_time, c.duration_ms, c.status,
    c.service_name, c.key_label, c.provider, coalesce(c.response_model, c.request_model) AS model, c.input_tokens,
    c.output_tokens, c.cost, c.price_confidence, c.received_time
FROM lake.priced AS c
WHERE {filter_spans} AND ($after::TIMESTAMP IS NULL OR c.received_time > $after::TIMESTAMP)
ORDER BY c.received_time DESC, c.start_time DESC
LIMIT $limit
