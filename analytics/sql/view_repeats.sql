-- Calls whose money bought nothing new, each once: `retry` = it failed and the same request was sent again in its trace;
-- `repeat` = it succeeded and was sent again all the same; `loop` = it asked a tool with the same arguments for the `nth`
-- time since the last question of a person: the messages that it was given hold the earlier ones. The same request = same
-- asked model, tools, system text and messages. `other_trace_id` and `other_span_id`: the attempt that followed; for a loop
-- the call that it continues. Cost is NULL where it is unknown, as of many failed calls.
CREATE VIEW repeats AS
WITH requests AS (
    SELECT *, row_number() OVER attempt AS nth, lead(span_id) OVER attempt AS next_span_id
    FROM calls
    WINDOW attempt AS (
        PARTITION BY tenant, trace_id, coalesce(request_model, response_model), tools_id, system_id,
            coalesce(input_head, span_id)
        ORDER BY start_time, span_id
    )
),
asked AS (
    SELECT c.date, c.tenant, c.trace_id, c.span_id, m.tool_name,
        list(h.position) FILTER (lower(hex(h.tool_key)) = m.tool_key) AS asked_at,
        coalesce(max(h.position) FILTER (h.role = 'user' AND h.tool_name IS NULL), -1) AS question_at
    FROM requests AS c
    JOIN messages AS m ON m.date = c.date AND m.tenant = c.tenant AND m.message_id = c.output_head
    JOIN lake.held AS h ON h.date = c.date AND h.tenant = c.tenant AND h.trace_id = c.trace_id AND h.span_id = c.span_id
    WHERE c.next_span_id IS NULL AND m.tool_key IS NOT NULL
    GROUP BY ALL
),
loops AS (
    SELECT date, tenant, trace_id, span_id, tool_name AS asked_tool,
        len(list_filter(asked_at, lambda place: place > question_at)) + 1 AS times
    FROM asked
)
SELECT date, tenant, trace_id, span_id, start_time, service_name, environment, project, key_label, provider, model,
    prompt_name, prompt_fingerprint, thread_id, conversation,
    CASE WHEN status = 'success' THEN 'repeat' ELSE 'retry' END AS kind, NULL::VARCHAR AS tool_name, nth,
    trace_id AS other_trace_id, next_span_id AS other_span_id, error_type, input_tokens, output_tokens, cost
FROM requests
WHERE next_span_id IS NOT NULL
UNION ALL
SELECT date, tenant, trace_id, span_id, start_time, service_name, environment, project, key_label, provider, model,
    prompt_name, prompt_fingerprint, thread_id, conversation, 'loop', asked_tool, times, continues_trace_id,
    continues_span_id, error_type, input_tokens, output_tokens, cost
FROM requests
JOIN loops USING (date, tenant, trace_id, span_id)
WHERE times > 1
