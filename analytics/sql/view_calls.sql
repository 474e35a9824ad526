-- Every billable call, once: usage in disjoint buckets, its price, and where its context lies in the message chain.
CREATE VIEW calls AS
SELECT c.date, c.tenant, c.trace_id, c.span_id, c.parent_span_id, c.name, c.kind, c.operation, c.start_time, c.end_time,
    c.duration_ms, c.status, c.error_type, c.service_name, c.service_version, c.environment, c.project, c.session_id,
    c.conversation_id, c.user_id, c.key_label, c.provider, c.request_model, c.response_model,
    coalesce(c.response_model, c.request_model) AS model, c.agent_name, c.tool_name, c.tags, c.dialect, c.scope_name,
    {usage_columns}, c.web_searches,
    c.usage_verdict, c.estimated_output_tokens,
    CASE WHEN c.estimated_output_tokens IS NOT NULL THEN 'characters / 4' END AS estimate_method, c.cost, c.currency, c.price_confidence, c.price_key, c.rate_id,
    c.service_tier, c.streaming, c.ttft_ms, c.finish_reasons, c.response_id, c.truncated,
    c.prompt_fingerprint, c.prompt_name, c.prompt_version,
    lower(hex(e.thread_id)) AS thread_id, lower(hex(e.input_head)) AS input_head,
    lower(hex(e.output_head)) AS output_head, lower(hex(e.system_id)) AS system_id,
    lower(hex(e.tools_id)) AS tools_id, e.input_count AS context_messages,
    e.input_count - least(coalesce(e.shared_messages, 0), e.input_count) AS new_messages,
    e.input_chars AS context_chars, e.output_count AS output_messages,
    coalesce(e.root, c.conversation_id, c.session_id, c.trace_id || '/' || c.span_id) AS conversation,
    e.continues_trace_id, e.continues_span_id, c.received_time
FROM lake.priced AS c
LEFT JOIN lake.ends AS e USING (date, tenant, trace_id, span_id)
