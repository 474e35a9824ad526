-- Loops, retries and repeats in money, by tool and model: the calls that bought nothing new.
SELECT r.kind, r.tool_name, r.model, count(*) AS calls, count(DISTINCT r.trace_id) AS traces, max(r.nth) AS most_times,
    sum(r.input_tokens)::BIGINT AS input_tokens, sum(r.output_tokens)::BIGINT AS output_tokens, sum(r.cost) AS cost,
    count(*) FILTER (r.cost IS NULL) AS calls_without_cost, arg_max(r.trace_id, r.start_time) AS example_trace_id,
    arg_max(r.span_id, r.start_time) AS example_span_id
FROM {repeats} AS r
GROUP BY r.kind, r.tool_name, r.model
ORDER BY cost DESC NULLS LAST, calls DESC, r.kind, r.tool_name, r.model
LIMIT $limit
