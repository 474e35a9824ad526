-- The skeleton of one trace for the waterfall: no attributes, no content. `orphan` = its parent is not stored.
WITH mine AS MATERIALIZED (FROM lake.spans WHERE trace_id = $trace_id),
money AS (
    SELECT tenant, span_id, cost, price_confidence, input_tokens, output_tokens, cache_read_tokens, request_model,
        response_model, provider
    FROM lake.priced
    WHERE trace_id = $trace_id
)
SELECT s.date, s.tenant, s.trace_id, s.span_id, s.parent_span_id, s.name, s.kind, s.operation, s.start_time, s.start_nanos,
    {end_time} AS end_time, s.duration_ns, s.duration_ns / 1e6 AS duration_ms, s.status, s.error_type, s.service_name,
    s.scope_name, s.dialect, s.agent_name, s.tool_name, coalesce(m.provider, s.provider) AS provider,
    coalesce(m.response_model, m.request_model, s.response_model, s.request_model) AS model,
    m.span_id IS NOT NULL AS is_call, d.reason AS suppressed_reason, d.merged_into,
    coalesce(m.input_tokens, s.input_tokens) AS input_tokens, coalesce(m.output_tokens, s.output_tokens) AS output_tokens,
    m.cache_read_tokens, m.cost, m.price_confidence, s.streaming, s.ttft_ms, s.truncated, s.received_time,
    s.parent_span_id IS NOT NULL AND NOT EXISTS (
        FROM mine AS p WHERE p.tenant = s.tenant AND p.span_id = s.parent_span_id) AS orphan
FROM mine AS s
LEFT JOIN money AS m ON m.tenant = s.tenant AND m.span_id = s.span_id
LEFT JOIN (FROM lake.decisions WHERE trace_id = $trace_id) AS d ON d.tenant = s.tenant AND d.span_id = s.span_id
ORDER BY s.start_time, s.start_nanos, s.duration_ns DESC, s.span_id
