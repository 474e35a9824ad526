-- Expected against billed cache reads: one row per call that continues another of the same day or the day before. What
-- was sent before could have been read from the provider's cache: `expected_tokens` = the input of the continued call, or
-- this one's if that is less; 0 below 1,024 tokens, which no provider caches. `missed_tokens` = what of it was not read
-- (steps of 128 tokens that providers cache in are no miss), `missed_cost` = what that cost more than reading it from the
-- cache. NULL where the call did not report its cache reads; failed calls that reported no usage are left out. `cause` is told from the fold: the first place where the
-- two inputs part (`diverged_position`: -2 tools, -1 system text, else the message; `diverged_id` stands there now,
-- `expected_id` stood there before). If they never part, the time between the two calls or the provider.
-- Only the chunks of up to 16 messages in which two inputs part are read: an anchor that both hold says that they are equal
-- up to it. Conditions on the date reach the files: a range costs its days and the one before.
CREATE VIEW cache_use AS
WITH now AS (
    SELECT c.*, e.thread_id, coalesce(e.root, c.conversation_id, c.session_id, c.trace_id || '/' || c.span_id) AS conversation,
        e.continues_trace_id, e.continues_span_id, e.tools_id, e.system_id, e.input_count,
        coalesce(e.input_anchors, []::BLOB[]) AS anchors, e.input_head AS head
    FROM ({calls}) AS c
    JOIN (FROM lake.ends WHERE {days}) AS e USING (date, tenant, trace_id, span_id)
    WHERE e.continues_span_id IS NOT NULL AND e.input_head IS NOT NULL
        AND (c.status <> 'error' OR c.input_tokens IS NOT NULL)  -- what failed without usage cannot have read anything
),
sent AS (  -- what is known of what was sent; a span that was merged into another one stands for that call
    SELECT c.*, e.span_id AS sent_by, e.tools_id, e.system_id, e.input_count, coalesce(e.input_anchors, []::BLOB[]) AS anchors,
        e.input_head AS head
    FROM (FROM lake.ends WHERE {days_before}) AS e
    LEFT JOIN lake.decisions AS d USING (date, tenant, trace_id, span_id)
    JOIN (FROM lake.calls WHERE {days_before}) AS c ON c.date = e.date AND c.tenant = e.tenant AND c.trace_id = e.trace_id
        AND c.span_id = coalesce(d.merged_into, e.span_id)
    WHERE e.input_head IS NOT NULL
),
before AS (  -- for its own day and for the next
    SELECT date AS day, * FROM sent
    UNION ALL
    SELECT date + 1 AS day, * FROM sent
),
stored AS (
    SELECT date AS day, date, tenant, message_id, path, content_id, match_id FROM lake.messages WHERE {days_before}
    UNION ALL
    SELECT date + 1 AS day, date, tenant, message_id, path, content_id, match_id FROM lake.messages WHERE {days_before}
),
pairs AS (
    SELECT c.* REPLACE (p.span_id AS continues_span_id), p.date AS date_before, p.tools_id AS tools_before, p.system_id AS system_before,
        p.anchors AS anchors_before, p.head AS head_before, p.input_count AS count_before,
        p.provider AS provider_before, p.response_model AS answered_before,
        coalesce(p.request_model, p.response_model) AS asked_before, coalesce(c.request_model, c.response_model) AS asked,
        p.prompt_fingerprint AS fingerprint_before,
        epoch_us(c.start_time - p.end_time) / 1e6 AS gap_seconds, p.input_tokens AS tokens_before,
        coalesce(p.cache_write_1h_tokens, 0) > 0 AS kept_an_hour,
        coalesce(p.cache_read_tokens, 0) + coalesce(p.cache_write_tokens, 0) + coalesce(p.cache_write_1h_tokens, 0)
            + coalesce(c.cache_read_tokens, 0) + coalesce(c.cache_write_tokens, 0)
            + coalesce(c.cache_write_1h_tokens, 0) > 0 AS cache_used,
        len(list_intersect(c.anchors, p.anchors)) AS equal_chunks
    FROM now AS c
    JOIN before AS p ON p.day = c.date AND p.tenant = c.tenant AND p.trace_id = c.continues_trace_id
        AND p.sent_by = c.continues_span_id
),
asked AS (  -- the first chunks that are not known to be equal
    SELECT date, tenant, trace_id, span_id, date AS stored, coalesce(anchors[equal_chunks + 1], head) AS now_id, NULL AS before_id
    FROM pairs
    UNION ALL
    SELECT date, tenant, trace_id, span_id, date_before, NULL, coalesce(anchors_before[equal_chunks + 1], head_before)
    FROM pairs
),
opened AS (  -- a message may lie twice in a day's files until compaction
    SELECT a.date, a.tenant, a.trace_id, a.span_id, any_value(list_append(m.path, m.message_id)) FILTER (now_id IS NOT NULL) AS ids,
        any_value(list_append(m.path, m.message_id)) FILTER (before_id IS NOT NULL) AS ids_before
    FROM asked AS a
    JOIN stored AS m ON m.day = a.date AND m.date = a.stored AND m.tenant = a.tenant
        AND m.message_id = coalesce(a.now_id, a.before_id)
    GROUP BY a.date, a.tenant, a.trace_id, a.span_id
),
compared AS (  -- an id is a place: equal there, equal before it
    SELECT date, tenant, trace_id, span_id, ids, ids_before, len(list_intersect(ids, ids_before)) AS equal_ids
    FROM opened
    WHERE ids IS NOT NULL AND ids_before IS NOT NULL
),
parted AS (
    SELECT p.*, o.ids, o.ids_before, o.equal_ids,
        CASE WHEN p.tools_id IS DISTINCT FROM p.tools_before THEN -2
            WHEN p.system_id IS DISTINCT FROM p.system_before THEN -1
            WHEN 16 * p.equal_chunks + o.equal_ids < least(p.input_count, p.count_before) THEN 16 * p.equal_chunks + o.equal_ids
        END::INTEGER AS diverged_position,
        CASE WHEN p.input_tokens IS NULL OR p.tokens_before IS NULL THEN NULL
            WHEN least(p.input_tokens, p.tokens_before) < 1024 THEN 0
            ELSE least(p.input_tokens, p.tokens_before)
        END AS expected_tokens
    FROM pairs AS p
    JOIN compared AS o USING (date, tenant, trace_id, span_id)
),
places AS (
    SELECT date, tenant, trace_id, span_id, date_before, diverged_position, list_append(anchors_before, head_before) AS chunks,
        ids[equal_ids + 1] AS now_id, ids_before[equal_ids + 1] AS before_id
    FROM parted
    WHERE diverged_position >= 0
),
standing AS (
    SELECT date, tenant, trace_id, span_id, date AS stored, now_id, NULL AS before_id FROM places
    UNION ALL
    SELECT date, tenant, trace_id, span_id, date_before, NULL, before_id FROM places
),
apart AS (  -- what the two messages say at the place where the inputs part
    SELECT p.date, p.tenant, p.trace_id, p.span_id, any_value(m.content_id) FILTER (p.now_id IS NOT NULL) AS content_id,
        any_value(coalesce(m.match_id, m.message_id)) FILTER (p.now_id IS NOT NULL)
            = any_value(coalesce(m.match_id, m.message_id)) FILTER (p.before_id IS NOT NULL) AS same_but_form
    FROM standing AS p
    JOIN stored AS m ON m.day = p.date AND m.date = p.stored AND m.tenant = p.tenant
        AND m.message_id = coalesce(p.now_id, p.before_id)
    GROUP BY p.date, p.tenant, p.trace_id, p.span_id
),
rest AS (
    SELECT date, tenant, trace_id, span_id, date_before, diverged_position, content_id, unnest(chunks) AS chunk,
        16 * generate_subscripts(chunks, 1) - 16 AS first
    FROM (
        SELECT p.*, a.content_id FROM places AS p JOIN apart AS a USING (date, tenant, trace_id, span_id)
        WHERE a.same_but_form IS NOT TRUE
    )
),
behind AS (  -- the messages that followed that place before
    SELECT r.date, r.tenant, r.trace_id, r.span_id, r.date_before, r.content_id,
        unnest(list_append(m.path, m.message_id)[greatest(r.diverged_position + 2 - r.first, 1):]) AS message_id
    FROM rest AS r
    JOIN stored AS m ON m.day = r.date AND m.date = r.date_before AND m.tenant = r.tenant AND m.message_id = r.chunk
    WHERE r.first + 16 > r.diverged_position
),
slid AS (
    SELECT b.date, b.tenant, b.trace_id, b.span_id, bool_or(m.content_id = b.content_id) AS stood_later
    FROM behind AS b
    JOIN stored AS m ON m.day = b.date AND m.date = b.date_before AND m.tenant = b.tenant AND m.message_id = b.message_id
    GROUP BY b.date, b.tenant, b.trace_id, b.span_id
),
told AS (
    SELECT d.*, p.now_id, p.before_id, a.same_but_form, s.stood_later
    FROM parted AS d
    LEFT JOIN places AS p USING (date, tenant, trace_id, span_id)
    LEFT JOIN apart AS a USING (date, tenant, trace_id, span_id)
    LEFT JOIN slid AS s USING (date, tenant, trace_id, span_id)
),
missed AS (
    SELECT *,
        CASE WHEN expected_tokens - cache_read_tokens < 128 THEN 0 ELSE expected_tokens - cache_read_tokens
        END AS missed_tokens
    FROM told
)
SELECT c.date, c.tenant, c.trace_id, c.span_id, c.start_time, c.service_name, c.environment, c.project, c.key_label, c.provider,
    coalesce(c.response_model, c.request_model) AS model, c.prompt_name, c.prompt_fingerprint,
    lower(hex(c.thread_id)) AS thread_id, c.conversation, c.continues_trace_id, c.continues_span_id,
    c.gap_seconds, c.input_tokens, c.expected_tokens, c.cache_read_tokens, c.missed_tokens,
    CASE WHEN c.missed_tokens IS NOT NULL THEN
        least(c.missed_tokens, z.written) * (coalesce(z.write_cost / nullif(z.written, 0), 0) - c.cache_read_rate)
        + greatest(c.missed_tokens - z.written, 0) * (c.uncached_input_rate - c.cache_read_rate)
    END AS missed_cost,
    CASE
        WHEN c.missed_tokens = 0 OR c.expected_tokens = 0 THEN NULL
        WHEN c.expected_tokens IS NULL THEN 'not reported'
        WHEN c.provider IS DISTINCT FROM c.provider_before OR c.asked IS DISTINCT FROM c.asked_before
            AND coalesce(c.response_model <> c.answered_before, true) THEN 'model changed'
        WHEN c.diverged_position = -2 THEN 'tools changed'
        WHEN c.diverged_position = -1 AND c.prompt_name IS NULL AND c.prompt_fingerprint = c.fingerprint_before
            THEN 'clock in system text'
        WHEN c.diverged_position = -1 THEN 'system text changed'
        WHEN c.same_but_form THEN 'resent in another form'
        WHEN c.stood_later THEN 'window slid'
        WHEN c.diverged_position IS NOT NULL THEN 'edit in the middle'
        WHEN c.gap_seconds > CASE WHEN c.kept_an_hour THEN 3600 ELSE 300 END THEN 'expired'
        WHEN c.cache_read_tokens IS NULL THEN 'not reported'
        WHEN NOT c.cache_used AND c.cache_write_rate > c.uncached_input_rate THEN 'not asked for'
        ELSE 'not kept'
    END AS cause,
    c.diverged_position,
    lower(hex(CASE c.diverged_position WHEN -2 THEN c.tools_id WHEN -1 THEN c.system_id ELSE c.now_id END)) AS diverged_id,
    lower(hex(CASE c.diverged_position WHEN -2 THEN c.tools_before WHEN -1 THEN c.system_before ELSE c.before_id END))
        AS expected_id
FROM missed AS c, LATERAL (
    SELECT coalesce(c.cache_write_tokens, 0) + coalesce(c.cache_write_1h_tokens, 0) AS written,
        coalesce(c.cache_write_tokens, 0) * c.cache_write_rate
            + coalesce(c.cache_write_1h_tokens, 0) * c.cache_write_1h_rate AS write_cost
) AS z
