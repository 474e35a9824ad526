-- The turns of some days as continuation knows them: one row for each side of a call that has words, with what its span
-- states and the link that was found. The placeholders are relations over the files of these days.
WITH
    words AS (
        SELECT DISTINCT ON (tenant, trace_id, span_id, direction)
            tenant, trace_id, span_id, direction, answer_key, answer_gram, answer_position
        FROM {contexts}
        ORDER BY tenant, trace_id, span_id, direction, revision DESC
    ),
    found AS (
        SELECT DISTINCT ON (tenant, trace_id, span_id)
            tenant, trace_id, span_id, continues_trace_id, continues_span_id
        FROM {links}
        ORDER BY tenant, trace_id, span_id, revision DESC
    )
SELECT
    words.*, spans.date, spans.start_time, spans.duration_ns, coalesce(conversation_id, session_id) AS stated, user_id,
    service_name, continues_trace_id, continues_span_id
FROM words
JOIN {spans} AS spans USING (tenant, trace_id, span_id)
LEFT JOIN found USING (tenant, trace_id, span_id)
WHERE is_candidate
ORDER BY start_time, trace_id, span_id
