-- What could not be taken as sent or is not known: counted, with an example. Never hidden (rule 5).
CREATE VIEW data_quality AS
SELECT date, tenant, service_name, scope_name, kind, detail, sum(count)::BIGINT AS count,
    arg_min(example_trace_id, first_seen) AS example_trace_id, arg_min(example_span_id, first_seen) AS example_span_id,
    min(first_seen) AS first_seen
FROM lake.quality
GROUP BY date, tenant, service_name, scope_name, kind, detail
UNION ALL
SELECT date, tenant, service_name, NULL, 'unpriced', model, sum(unpriced_calls)::BIGINT, NULL, NULL, min(hour)
FROM rollup_hourly
WHERE unpriced_calls > 0
GROUP BY date, tenant, service_name, model
UNION ALL
SELECT date, tenant, service_name, NULL, 'missing_usage', model,
    sum(calls - greatest(known_input_tokens, known_output_tokens))::BIGINT, NULL, NULL, min(hour)
FROM rollup_hourly
WHERE calls > greatest(known_input_tokens, known_output_tokens)
GROUP BY date, tenant, service_name, model
UNION ALL
SELECT date, tenant, service_name, scope_name, 'orphan', NULL, count(*), arg_min(trace_id, start_time),
    arg_min(span_id, start_time), min(start_time)
FROM lake.spans AS s
WHERE parent_span_id IS NOT NULL AND NOT EXISTS (
    FROM lake.spans AS p
    WHERE p.tenant = s.tenant AND p.trace_id = s.trace_id AND p.span_id = s.parent_span_id
)
GROUP BY date, tenant, service_name, scope_name
