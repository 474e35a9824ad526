-- What each message in each call's input cost: the input's money, laid out over its characters in the order in which
-- providers cache (tools, system text, messages). The first tokens of the input are those read from the cache, then those
-- written to it, then the rest; each has its own rate. The costs of a call's messages add up to its input's cost.
-- Cost and tokens are NULL where the call's are unknown. `resent` = an earlier call of the conversation had seen or said it.
CREATE VIEW message_costs AS
WITH laid AS (
    SELECT *, sum(chars) OVER (call ORDER BY position) - chars AS chars_before, sum(chars) OVER call AS chars_all
    FROM lake.held
    WINDOW call AS (PARTITION BY date, tenant, trace_id, span_id)
),
billed AS (
    SELECT c.*, z.rest_tokens, z.rest_cost, z.write_tokens, z.write_cost,
        coalesce(c.cache_read_tokens, 0) AS read_tokens, r.cache_read AS read_rate,
        coalesce(c.cache_read_tokens, 0) + z.write_tokens + z.rest_tokens AS all_tokens
    FROM lake.priced AS c
    LEFT JOIN book.rates AS r ON {same_rate},
    LATERAL (
        SELECT coalesce(c.uncached_input_tokens, greatest(c.input_tokens - {other_inputs}, 0))
                + coalesce(c.audio_input_tokens, 0) + coalesce(c.image_input_tokens, 0) AS rest_tokens,
            coalesce(c.uncached_input_tokens, greatest(c.input_tokens - {other_inputs}, 0)) * r.uncached_input
                + coalesce(c.audio_input_tokens, 0) * r.audio_input
                + coalesce(c.image_input_tokens, 0) * r.image_input AS rest_cost,
            coalesce(c.cache_write_tokens, 0) + coalesce(c.cache_write_1h_tokens, 0) AS write_tokens,
            coalesce(c.cache_write_tokens, 0) * r.cache_write
                + coalesce(c.cache_write_1h_tokens, 0) * r.cache_write_1h AS write_cost
    ) AS z
),
spread AS (
    SELECT b.*, l.position, l.message_id, l.role, l.tool_name AS message_tool, l.chars, l.resent,
        b.all_tokens * l.chars_before / nullif(l.chars_all, 0) AS first_token,
        b.all_tokens * (l.chars_before + l.chars) / nullif(l.chars_all, 0) AS end_token
    FROM laid AS l
    JOIN billed AS b USING (date, tenant, trace_id, span_id)
)
SELECT s.date, s.tenant, s.trace_id, s.span_id, s.start_time, s.service_name, s.environment, s.project, s.key_label,
    s.provider, coalesce(s.response_model, s.request_model) AS model, s.prompt_name, s.prompt_fingerprint,
    lower(hex(e.thread_id)) AS thread_id,
    coalesce(e.root, s.conversation_id, s.session_id, s.trace_id || '/' || s.span_id) AS conversation,
    s.position, lower(hex(s.message_id)) AS message_id, s.role, s.message_tool AS tool_name, s.chars, s.resent, s.end_token - s.first_token AS tokens,
    greatest(least(s.end_token, s.read_tokens) - s.first_token, 0) * s.read_rate
        + greatest(least(s.end_token, s.read_tokens + s.write_tokens) - greatest(s.first_token, s.read_tokens), 0)
            * coalesce(s.write_cost / nullif(s.write_tokens, 0), 0)
        + greatest(s.end_token - greatest(s.first_token, s.read_tokens + s.write_tokens), 0)
            * coalesce(s.rest_cost / nullif(s.rest_tokens, 0), 0)
        + 0 * s.end_token * s.rest_cost AS cost
FROM spread AS s
JOIN lake.ends AS e USING (date, tenant, trace_id, span_id)
