-- Calls whose money bought nothing new, each once: `retry` = it failed and the same request was sent again in its trace;
-- `repeat` = it succeeded and was sent again all the same; `loop` = it asked the same tool with the same arguments as an
-- earlier call of its conversation (`nth` time). The same request = same asked model, tools, system text and messages.
-- `other_trace_id` and `other_span_id`: the attempt that followed; for a loop the call that asked first. Cost is NULL where
-- it is unknown, as of many failed calls.
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
    SELECT c.* EXCLUDE (nth, tool_name), m.tool_name, row_number() OVER loop AS nth,
        first_value(c.trace_id) OVER loop AS first_trace_id, first_value(c.span_id) OVER loop AS first_span_id
    FROM requests AS c
    JOIN messages AS m ON m.date = c.date AND m.tenant = c.tenant AND m.message_id = c.output_head
    WHERE c.next_span_id IS NULL AND m.tool_key IS NOT NULL
    WINDOW loop AS (PARTITION BY c.tenant, c.conversation, m.tool_key ORDER BY c.start_time, c.span_id)
)
SELECT date, tenant, trace_id, span_id, start_time, service_name, environment, project, key_label, provider, model,
    prompt_name, prompt_fingerprint, thread_id, conversation,
    CASE WHEN status = 'success' THEN 'repeat' ELSE 'retry' END AS kind, NULL::VARCHAR AS tool_name, nth,
    trace_id AS other_trace_id, next_span_id AS other_span_id, error_type, input_tokens, output_tokens, cost
FROM requests
WHERE next_span_id IS NOT NULL
UNION ALL
SELECT date, tenant, trace_id, span_id, start_time, service_name, environment, project, key_label, provider, model,
    prompt_name, prompt_fingerprint, thread_id, conversation, 'loop', tool_name, nth, first_trace_id, first_span_id,
    error_type, input_tokens, output_tokens, cost
FROM asked
WHERE nth > 1
