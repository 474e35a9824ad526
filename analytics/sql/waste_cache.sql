-- Why the provider's cache did not give what it could have: calls, tokens and money by cause. Calls that it served have none.
SELECT coalesce(u.cause, 'served') AS cause, count(*) AS calls, sum(u.expected_tokens)::BIGINT AS expected_tokens,
    sum(u.cache_read_tokens)::BIGINT AS cache_read_tokens, sum(u.missed_tokens)::BIGINT AS missed_tokens,
    sum(u.missed_cost) AS missed_cost, count(*) FILTER (u.missed_cost IS NULL) AS calls_without_cost,
    arg_max(u.trace_id, u.missed_cost) FILTER (u.missed_cost > 0) AS example_trace_id,
    arg_max(u.span_id, u.missed_cost) FILTER (u.missed_cost > 0) AS example_span_id
FROM {cache_use} AS u
GROUP BY ALL
ORDER BY missed_cost DESC NULLS LAST, calls DESC, cause
