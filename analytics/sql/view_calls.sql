-- Every billable call, once: usage in disjoint buckets, its price, and where its context lies in the message chain.
CREATE VIEW calls AS
SELECT c.date, c.tenant, c.trace_id, c.span_id, c.parent_span_id, c.name, c.kind, c.operation, c.start_time, c.end_time,
    c.duration_ms, c.status, c.error_type, c.service_name, c.service_version, c.environment, c.project, c.session_id,
    c.conversation_id, c.user_id, c.key_label, c.provider, c.request_model, c.response_model,
    coalesce(c.response_model, c.request_model) AS model, c.agent_name, c.tool_name, c.tags, c.dialect, c.scope_name,
    {usage_columns},
    c.usage_verdict, c.estimated_output_tokens, c.cost, c.currency, c.price_confidence, c.price_key, c.rate_id,
    c.service_tier, c.streaming, c.ttft_ms, c.finish_reasons, c.response_id, c.truncated,
    c.prompt_fingerprint, c.prompt_name, c.prompt_version,
    lower(hex(coalesce(i.thread_id, o.thread_id))) AS thread_id,
    lower(hex(i.head)) AS input_head, lower(hex(o.head)) AS output_head,
    lower(hex(i.system_id)) AS system_id, lower(hex(i.tools_id)) AS tools_id,
    i.count AS context_messages,
    i.count - least(coalesce(c.shared_messages, 0), i.count) AS new_messages,
    i.chars AS context_chars, o.count AS output_messages,
    c.conversation, c.continues_trace_id, c.continues_span_id, c.received_time
FROM lake.threaded AS c
LEFT JOIN (FROM lake.heads WHERE direction = 'input') AS i USING (date, tenant, trace_id, span_id)
LEFT JOIN (FROM lake.heads WHERE direction = 'output') AS o USING (date, tenant, trace_id, span_id)
