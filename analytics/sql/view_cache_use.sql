-- Expected against billed cache reads: one row per call that continues another of the same day or the day before. What
-- was sent before could have been read from the provider's cache: `expected_tokens` = the input of the continued call, or
-- this one's if that is less; 0 below 1,024 tokens, which no provider caches. `missed_tokens` = what of it was not read
-- (steps of 128 tokens that providers cache in are no miss), `missed_cost` = what that cost more than reading it from the
-- cache. NULL where the call did not report its cache reads. `cause` is told from the fold: the first place where the
-- two inputs part (`diverged_position`: -2 tools, -1 system text, else the message; `diverged_id` stands there now,
-- `expected_id` stood there before). If they never part, the time between the two calls or the provider.
CREATE VIEW cache_use AS
WITH meanings AS (
    SELECT date, tenant, message_id, any_value(content_id) AS content_id,
        any_value(coalesce(match_id, message_id)) AS match_id
    FROM lake.messages
    GROUP BY date, tenant, message_id
),
spread AS (
    SELECT date, tenant, content_id, list(message_id) AS ids FROM lake.messages GROUP BY date, tenant, content_id
),
now AS (SELECT c.*, g.ids FROM calls AS c LEFT JOIN lake.given AS g USING (date, tenant, trace_id, span_id)),
before AS (  -- outer joins keep their order: as inner ones the three would be ordered by guesses that are far off
    SELECT p.*, e.input_head, e.tools_id, e.system_id, g.ids
    FROM lake.calls AS p
    LEFT JOIN lake.ends AS e USING (date, tenant, trace_id, span_id)
    LEFT JOIN lake.given AS g USING (date, tenant, trace_id, span_id)
),
pairs AS (
    SELECT c.*, p.date AS date_before, p.ids AS ids_before, lower(hex(p.tools_id)) AS tools_before,
        lower(hex(p.system_id)) AS system_before, p.provider AS provider_before,
        coalesce(p.request_model, p.response_model) AS asked_before, coalesce(c.request_model, c.response_model) AS asked,
        p.prompt_fingerprint AS fingerprint_before,
        epoch_us(c.start_time - p.end_time) / 1e6 AS gap_seconds, p.input_tokens AS tokens_before,
        coalesce(p.cache_write_1h_tokens, 0) > 0 AS kept_an_hour,
        coalesce(p.cache_read_tokens, 0) + coalesce(p.cache_write_tokens, 0) + coalesce(p.cache_write_1h_tokens, 0)
            + coalesce(c.cache_read_tokens, 0) + coalesce(c.cache_write_tokens, 0)
            + coalesce(c.cache_write_1h_tokens, 0) > 0 AS cache_used,
        CASE WHEN c.ids[len(p.ids)] = p.ids[-1] THEN len(p.ids)  -- an id is a place: equal there, equal before it
            ELSE len(list_intersect(c.ids, p.ids)) END::INTEGER AS common
    FROM now AS c
    JOIN before AS p ON p.tenant = c.tenant AND p.trace_id = c.continues_trace_id AND p.span_id = c.continues_span_id
    WHERE p.date >= c.date - 1 AND p.input_head IS NOT NULL  -- what was sent before is known
),
parted AS (
    SELECT *,
        CASE WHEN tools_id IS DISTINCT FROM tools_before THEN -2
            WHEN system_id IS DISTINCT FROM system_before THEN -1
            WHEN common < least(len(ids), len(ids_before)) THEN common
        END AS diverged_position,
        CASE WHEN input_tokens IS NULL OR tokens_before IS NULL THEN NULL
            WHEN least(input_tokens, tokens_before) < 1024 THEN 0
            ELSE least(input_tokens, tokens_before)
        END AS expected_tokens
    FROM pairs
    WHERE common IS NOT NULL
),
told AS (
    SELECT d.*, n.match_id = o.match_id AS same_but_form,
        len(list_intersect(f.ids, d.ids_before[d.diverged_position + 2:])) > 0 AS stood_later
    FROM parted AS d
    LEFT JOIN meanings AS n ON n.date = d.date AND n.tenant = d.tenant AND d.diverged_position >= 0
        AND n.message_id = d.ids[d.diverged_position + 1]
    LEFT JOIN meanings AS o ON o.date = d.date_before AND o.tenant = d.tenant AND d.diverged_position >= 0
        AND o.message_id = d.ids_before[d.diverged_position + 1]
    LEFT JOIN spread AS f ON f.date = d.date_before AND f.tenant = d.tenant AND f.content_id = n.content_id
),
missed AS (
    SELECT *,
        CASE WHEN expected_tokens - cache_read_tokens < 128 THEN 0 ELSE expected_tokens - cache_read_tokens
        END AS missed_tokens
    FROM told
)
SELECT c.date, c.tenant, c.trace_id, c.span_id, c.start_time, c.service_name, c.environment, c.project, c.key_label, c.provider,
    c.model, c.prompt_name, c.prompt_fingerprint, c.thread_id, c.conversation, c.continues_trace_id, c.continues_span_id,
    c.gap_seconds, c.input_tokens, c.expected_tokens, c.cache_read_tokens, c.missed_tokens,
    CASE WHEN c.missed_tokens IS NOT NULL THEN
        least(c.missed_tokens, z.written) * (coalesce(z.write_cost / nullif(z.written, 0), 0) - r.cache_read)
        + greatest(c.missed_tokens - z.written, 0) * (r.uncached_input - r.cache_read)
    END AS missed_cost,
    CASE
        WHEN c.missed_tokens = 0 OR c.expected_tokens = 0 THEN NULL
        WHEN c.asked IS DISTINCT FROM c.asked_before OR c.provider IS DISTINCT FROM c.provider_before THEN 'model changed'
        WHEN c.diverged_position = -2 THEN 'tools changed'
        WHEN c.diverged_position = -1 AND c.prompt_name IS NULL AND c.prompt_fingerprint = c.fingerprint_before
            THEN 'clock in system text'
        WHEN c.diverged_position = -1 THEN 'system text changed'
        WHEN c.same_but_form THEN 'resent in another form'
        WHEN c.stood_later THEN 'window slid'
        WHEN c.diverged_position IS NOT NULL THEN 'edit in the middle'
        WHEN c.gap_seconds > CASE WHEN c.kept_an_hour THEN 3600 ELSE 300 END THEN 'expired'
        WHEN c.cache_read_tokens IS NULL THEN 'not reported'
        WHEN NOT c.cache_used AND r.cache_write > r.uncached_input THEN 'not asked for'
        ELSE 'not kept'
    END AS cause,
    c.diverged_position,
    CASE c.diverged_position WHEN -2 THEN c.tools_id WHEN -1 THEN c.system_id
        ELSE lower(hex(c.ids[c.diverged_position + 1])) END AS diverged_id,
    CASE c.diverged_position WHEN -2 THEN c.tools_before WHEN -1 THEN c.system_before
        ELSE lower(hex(c.ids_before[c.diverged_position + 1])) END AS expected_id
FROM missed AS c
LEFT JOIN book.rates AS r ON {same_rate},
LATERAL (
    SELECT coalesce(c.cache_write_tokens, 0) + coalesce(c.cache_write_1h_tokens, 0) AS written,
        coalesce(c.cache_write_tokens, 0) * r.cache_write
            + coalesce(c.cache_write_1h_tokens, 0) * r.cache_write_1h AS write_cost
) AS z
