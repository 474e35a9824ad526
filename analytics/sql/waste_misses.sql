-- The calls whose input should have been read from the provider's cache and was not, dearest first: the cause, and the
-- message where the input parts from the one before.
SELECT u.trace_id, u.span_id, u.start_time, u.service_name, u.model, u.cause, u.gap_seconds, u.expected_tokens,
    u.cache_read_tokens, u.missed_tokens, u.missed_cost, u.diverged_position, u.diverged_id, u.expected_id,
    m.role AS diverged_role, u.continues_trace_id, u.continues_span_id
FROM {cache_use} AS u
LEFT JOIN messages AS m ON m.date = u.date AND m.tenant = u.tenant AND m.message_id = u.diverged_id
WHERE u.missed_tokens > 0
ORDER BY u.missed_cost DESC NULLS LAST, u.start_time, u.trace_id, u.span_id
LIMIT $limit
