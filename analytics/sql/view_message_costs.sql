-- What each message in each call's input cost: the input's money, laid out over its characters in the order in which
-- providers cache (tools, system text, messages). The first tokens of the input are those read from the cache, then those
-- written to it, then the rest; each has its own rate. The costs of a call's messages add up to its input's cost.
-- Cost and tokens are NULL where the call's are unknown. `resent` = an earlier call of the conversation had seen or said it.
-- Histories lie in chunks of up to 16 messages (an anchor row's path and itself, the head row's path and itself), most of
-- them shared by several calls. Characters are added up once a chunk, so that the places of a call need no sort.
CREATE VIEW message_costs AS
WITH stored AS (
    SELECT DISTINCT date, tenant, unnest(list_concat([tools_id, system_id], anchors, [head])) AS chunk
    FROM lake.contexts
    WHERE direction = 'input' AND {days}
),
paths AS (  -- a message may lie twice in a day's files until compaction
    SELECT c.date, c.tenant, c.chunk, any_value(list_append(m.path, m.message_id)) AS ids
    FROM stored AS c
    JOIN (FROM lake.messages WHERE {days}) AS m ON m.date = c.date AND m.tenant = c.tenant AND m.message_id = c.chunk
    GROUP BY c.date, c.tenant, c.chunk
),
steps AS (
    SELECT date, tenant, chunk, unnest(ids) AS message_id, generate_subscripts(ids, 1) - 1 AS step FROM paths
),
known AS (
    SELECT date, tenant, message_id, any_value(role) AS role, any_value(tool_name) AS tool_name, any_value(chars) AS chars
    FROM lake.messages
    WHERE {days}
    GROUP BY date, tenant, message_id
),
said AS (
    SELECT s.date, s.tenant, s.chunk, s.step, s.message_id, k.role, k.tool_name, k.chars,
        (sum(k.chars) OVER (PARTITION BY s.date, s.tenant, s.chunk ORDER BY s.step) - k.chars)::BIGINT AS chars_before
    FROM steps AS s
    JOIN known AS k USING (date, tenant, message_id)
),
sizes AS (SELECT date, tenant, chunk, sum(chars) AS chars FROM said GROUP BY date, tenant, chunk),
ends AS (FROM lake.ends WHERE {days}),
before AS (  -- tools and system text of the call that each one continues
    SELECT e.date, e.tenant, e.trace_id, e.span_id, arg_max_null(p.tools_id, p.revision) AS tools_id,
        arg_max_null(p.system_id, p.revision) AS system_id
    FROM ends AS e
    JOIN lake.contexts AS p ON p.direction = 'input' AND p.tenant = e.tenant AND p.trace_id = e.continues_trace_id
        AND p.span_id = e.continues_span_id
    WHERE e.tools_id IS NOT NULL OR e.system_id IS NOT NULL
    GROUP BY e.date, e.tenant, e.trace_id, e.span_id
),
billed AS (
    SELECT c.*, e.thread_id, coalesce(e.root, c.conversation_id, c.session_id, c.trace_id || '/' || c.span_id) AS conversation,
        coalesce(e.shared_messages, 0) AS shared_messages,
        e.tools_id IS NOT DISTINCT FROM p.tools_id AS tools_resent, e.system_id IS NOT DISTINCT FROM p.system_id AS system_resent,
        list_concat([e.tools_id, e.system_id], e.input_anchors, [e.input_head]) AS chunks,
        coalesce(c.cache_read_tokens, 0) AS read_tokens,
        coalesce(c.cache_write_tokens, 0) + coalesce(c.cache_write_1h_tokens, 0) AS write_tokens,
        coalesce(c.uncached_input_tokens, greatest(c.input_tokens - {other_inputs}, 0))
            + coalesce(c.audio_input_tokens, 0) + coalesce(c.image_input_tokens, 0) AS rest_tokens,
        coalesce(c.cache_write_tokens, 0) * c.cache_write_rate
            + coalesce(c.cache_write_1h_tokens, 0) * c.cache_write_1h_rate AS write_cost,
        coalesce(c.uncached_input_tokens, greatest(c.input_tokens - {other_inputs}, 0)) * c.uncached_input_rate
            + coalesce(c.audio_input_tokens, 0) * c.audio_input_rate
            + coalesce(c.image_input_tokens, 0) * c.image_input_rate AS rest_cost
    FROM ({calls}) AS c
    JOIN ends AS e USING (date, tenant, trace_id, span_id)
    LEFT JOIN before AS p USING (date, tenant, trace_id, span_id)
),
chunks AS (
    SELECT *, unnest(chunks) AS chunk, generate_subscripts(chunks, 1) - 3 AS place FROM billed
),
laid AS (
    SELECT c.*, read_tokens + write_tokens + rest_tokens AS all_tokens,
        (sum(s.chars) OVER (call ORDER BY c.place) - s.chars)::BIGINT AS chunk_before,
        nullif(sum(s.chars) OVER call, 0)::BIGINT AS chars_all
    FROM chunks AS c
    JOIN sizes AS s USING (date, tenant, chunk)
    WINDOW call AS (PARTITION BY c.date, c.tenant, c.trace_id, c.span_id)
),
spread AS (
    SELECT l.*, s.message_id, s.role, s.tool_name AS message_tool, s.chars,
        CASE WHEN l.place < 0 THEN l.place ELSE 16 * l.place + s.step END::BIGINT AS position,
        l.all_tokens::DOUBLE * (l.chunk_before + s.chars_before) / l.chars_all AS first_token,
        l.all_tokens::DOUBLE * (l.chunk_before + s.chars_before + s.chars) / l.chars_all AS end_token
    FROM laid AS l
    JOIN said AS s USING (date, tenant, chunk)
)
SELECT date, tenant, trace_id, span_id, start_time, service_name, environment, project, key_label, provider,
    coalesce(response_model, request_model) AS model, prompt_name, prompt_fingerprint, lower(hex(thread_id)) AS thread_id,
    conversation, position, lower(hex(message_id)) AS message_id, role, message_tool AS tool_name, chars,
    CASE position WHEN -2 THEN tools_resent WHEN -1 THEN system_resent ELSE position < shared_messages END AS resent,
    end_token - first_token AS tokens,
    greatest(least(end_token, read_tokens) - first_token, 0) * cache_read_rate
        + greatest(least(end_token, read_tokens + write_tokens) - greatest(first_token, read_tokens), 0)
            * coalesce(write_cost / nullif(write_tokens, 0), 0)
        + greatest(end_token - greatest(first_token, read_tokens + write_tokens), 0)
            * coalesce(rest_cost / nullif(rest_tokens, 0), 0)
        + 0 * end_token * rest_cost AS cost
FROM spread
