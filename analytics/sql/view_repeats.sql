-- Calls whose money bought nothing new, each once: `retry` = it failed and the same request was sent again in its trace;
-- `repeat` = it succeeded and was sent again all the same; `loop` = it asked a tool with the same arguments for the `nth`
-- time since the last question of a person: the messages that it was given hold the earlier ones. The same request = same
-- asked model, tools, system text and messages, and as many input tokens where they succeeded. `other_trace_id` and
-- `other_span_id`: the attempt that followed; for a loop
-- the call that it continues. Cost is NULL where it is unknown, as of many failed calls.
-- Of histories only those are read whose thread holds another message that asks the same of a tool.
CREATE VIEW repeats AS
WITH sent AS (
    SELECT c.date, c.tenant, c.trace_id, c.span_id, c.start_time, c.status, coalesce(c.request_model, c.response_model) AS asked_model,
        CASE WHEN c.status = 'success' THEN c.input_tokens END AS known_tokens, e.thread_id, e.root, e.continues_trace_id,
        e.continues_span_id, e.tools_id, e.system_id, e.input_head, e.output_head,
        list_append(coalesce(e.input_anchors, []::BLOB[]), e.input_head) AS chunks
    FROM (FROM lake.calls WHERE {days_around}) AS c
    JOIN (FROM lake.ends WHERE {days_around}) AS e USING (date, tenant, trace_id, span_id)
    WHERE e.input_head IS NOT NULL
),
measured AS (  -- words that were cut off where they arrived are equal though the requests differ: their tokens tell
    SELECT *, coalesce(last_value(known_tokens IGNORE NULLS) OVER (alike ROWS UNBOUNDED PRECEDING),
        first_value(known_tokens IGNORE NULLS) OVER (alike ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)) AS tokens
    FROM sent
    WINDOW alike AS (PARTITION BY tenant, trace_id, asked_model, tools_id, system_id, input_head ORDER BY start_time, span_id)
),
attempts AS (
    SELECT date, tenant, trace_id, span_id, status, thread_id, root, continues_trace_id, continues_span_id, output_head, chunks,
        row_number() OVER attempt AS nth, lead(span_id) OVER attempt AS next_span_id
    FROM measured
    WINDOW attempt AS (
        PARTITION BY tenant, trace_id, asked_model, tools_id, system_id, input_head, tokens ORDER BY start_time, span_id
    )
),
stored AS (FROM lake.messages WHERE {days}),
often AS (
    SELECT date, tenant, thread_id, tool_key
    FROM stored
    WHERE tool_key IS NOT NULL
    GROUP BY date, tenant, thread_id, tool_key
    HAVING count(DISTINCT message_id) > 1
),
asked AS (
    SELECT a.date, a.tenant, a.trace_id, a.span_id, m.tool_name, m.tool_key, unnest(a.chunks) AS chunk,
        16 * generate_subscripts(a.chunks, 1) - 16 AS first
    FROM attempts AS a
    JOIN stored AS m ON m.date = a.date AND m.tenant = a.tenant AND m.message_id = a.output_head
    JOIN often AS o ON o.date = m.date AND o.tenant = m.tenant AND o.thread_id = m.thread_id AND o.tool_key = m.tool_key
    WHERE a.next_span_id IS NULL
),
given AS (
    SELECT a.* EXCLUDE (chunk, first), unnest(list_append(m.path, m.message_id)) AS message_id,
        first + generate_subscripts(list_append(m.path, m.message_id), 1) - 1 AS position
    FROM asked AS a
    JOIN stored AS m ON m.date = a.date AND m.tenant = a.tenant AND m.message_id = a.chunk
),
loops AS (  -- each place once: a message may lie twice in a day's files until compaction
    SELECT g.date, g.tenant, g.trace_id, g.span_id, g.tool_name,
        list(DISTINCT g.position) FILTER (m.tool_key = g.tool_key) AS asked_at,
        coalesce(max(g.position) FILTER (m.role = 'user' AND m.tool_name IS NULL), -1) AS question_at
    FROM given AS g
    JOIN stored AS m ON m.date = g.date AND m.tenant = g.tenant AND m.message_id = g.message_id
    GROUP BY g.date, g.tenant, g.trace_id, g.span_id, g.tool_name
),
found AS (
    SELECT * EXCLUDE (chunks), CASE WHEN status = 'success' THEN 'repeat' ELSE 'retry' END AS kind, NULL::VARCHAR AS asked_tool,
        trace_id AS other_trace_id, next_span_id AS other_span_id
    FROM attempts
    WHERE next_span_id IS NOT NULL
    UNION ALL
    SELECT a.* EXCLUDE (chunks) REPLACE (len(list_filter(l.asked_at, lambda place: place > l.question_at)) + 1 AS nth), 'loop',
        l.tool_name, a.continues_trace_id, a.continues_span_id
    FROM attempts AS a
    JOIN loops AS l USING (date, tenant, trace_id, span_id)
)
SELECT c.date, c.tenant, c.trace_id, c.span_id, c.start_time, c.service_name, c.environment, c.project, c.key_label, c.provider,
    coalesce(c.response_model, c.request_model) AS model, c.prompt_name, c.prompt_fingerprint,
    lower(hex(f.thread_id)) AS thread_id,
    coalesce(f.root, c.conversation_id, c.session_id, c.trace_id || '/' || c.span_id) AS conversation, f.kind,
    f.asked_tool AS tool_name, f.nth, f.other_trace_id, f.other_span_id, c.error_type, c.input_tokens, c.output_tokens, c.cost
FROM ({calls}) AS c
JOIN found AS f USING (date, tenant, trace_id, span_id)
WHERE f.kind <> 'loop' OR f.nth > 1
