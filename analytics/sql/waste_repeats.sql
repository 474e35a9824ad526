-- Loops, retries and repeats in money, by tool and model: the calls that bought nothing new.
WITH kept AS (SELECT * FROM lake.priced AS c WHERE {filter_spans} AND {filter_review})
SELECT r.kind, r.tool_name, r.model, count(*) AS calls, count(DISTINCT r.trace_id) AS traces, max(r.nth) AS most_times,
    sum(r.input_tokens)::BIGINT AS input_tokens, sum(r.output_tokens)::BIGINT AS output_tokens, sum(r.cost) AS cost,
    count(*) FILTER (r.cost IS NULL) AS calls_without_cost, arg_max(r.trace_id, r.start_time) AS example_trace_id,
    arg_max(r.span_id, r.start_time) AS example_span_id
FROM repeats AS r SEMI JOIN kept USING (date, tenant, trace_id, span_id)
WHERE r.date BETWEEN $first_date::DATE AND $last_date::DATE
GROUP BY r.kind, r.tool_name, r.model
ORDER BY cost DESC NULLS LAST, calls DESC, r.kind, r.tool_name, r.model
LIMIT $limit
