-- The billable calls without their price: candidates that no decision suppressed, with what their twins knew filled in.
CREATE VIEW lake.calls AS
SELECT s.date, s.tenant, s.trace_id, s.span_id, s.parent_span_id, s.name, s.kind, s.operation, s.start_time,
    {end_time} AS end_time, s.duration_ns / 1e6 AS duration_ms, s.status, s.error_type,
    s.service_name, s.service_version, s.environment, s.project, s.key_label, s.scope_name, s.dialect, s.tags,
    s.tool_name, s.truncated, s.received_time, s.estimated_output_tokens,
    {filled}
FROM lake.spans AS s
LEFT JOIN lake.decisions AS d USING (date, tenant, trace_id, span_id)
WHERE s.is_candidate AND d.reason IS NULL
