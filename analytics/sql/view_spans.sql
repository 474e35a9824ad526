-- Every span, one row each. `attributes` is put together again from the stored rest and the promoted columns.
CREATE VIEW spans AS
SELECT s.date, s.tenant, s.trace_id, s.span_id, s.parent_span_id, s.name, s.kind, s.operation, s.start_time,
    {end_time} AS end_time, s.duration_ns / 1e6 AS duration_ms, s.status, s.error_type,
    NULL::VARCHAR AS error_message, s.service_name, s.service_version, s.environment, s.project, s.session_id,
    s.conversation_id, s.user_id, s.key_label, s.provider, s.request_model, s.response_model, s.agent_name,
    s.tool_name, s.tags, s.dialect, s.scope_name,
    coalesce(s.is_candidate, false) AND d.reason IS NULL AS is_call,
    {attributes} AS attributes, s.attributes_typed::JSON AS attributes_typed,
    s.tool_call_id, s.response_id, s.input_tokens, s.output_tokens, s.usage_verdict, s.service_tier,
    s.finish_reasons, s.truncated, s.is_candidate, s.is_container, s.prompt_fingerprint,
    s.events::JSON AS events, s.links::JSON AS links, s.resource::JSON AS resource, s.resource_schema_url,
    s.scope_version, s.scope_attributes::JSON AS scope_attributes, s.scope_schema_url, s.trace_state, s.flags,
    s.dropped_attributes, s.dropped_events, s.dropped_links, s.status_code, s.start_nanos, s.duration_ns,
    s.received_time, lower(hex(s.private_block)) AS private_block, s.private_offset, s.private_length
FROM lake.spans AS s
LEFT JOIN lake.decisions AS d USING (date, tenant, trace_id, span_id)
