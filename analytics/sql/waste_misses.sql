-- The calls whose input should have been read from the provider's cache and was not, dearest first: the cause, and the
-- message where the input parts from the one before.
WITH dearest AS (
    SELECT *
    FROM {cache_use}
    WHERE missed_tokens > 0
    ORDER BY missed_cost DESC NULLS LAST, start_time, trace_id, span_id
    LIMIT $limit
),
said AS (
    SELECT m.date, m.tenant, m.message_id, any_value(m.role) AS role
    FROM dearest AS d
    JOIN (FROM lake.messages WHERE date BETWEEN $first_date::DATE AND $last_date::DATE) AS m
        ON m.date = d.date AND m.tenant = d.tenant AND m.message_id = from_hex(d.diverged_id)
    GROUP BY m.date, m.tenant, m.message_id
)
SELECT u.trace_id, u.span_id, u.start_time, u.service_name, u.model, u.cause, u.gap_seconds, u.expected_tokens,
    u.cache_read_tokens, u.missed_tokens, u.missed_cost, u.diverged_position, u.diverged_id, u.expected_id,
    m.role AS diverged_role, u.continues_trace_id, u.continues_span_id
FROM dearest AS u
LEFT JOIN said AS m ON m.date = u.date AND m.tenant = u.tenant AND m.message_id = from_hex(u.diverged_id)
ORDER BY u.missed_cost DESC NULLS LAST, u.start_time, u.trace_id, u.span_id
