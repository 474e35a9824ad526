-- Spans whose parent is not stored, by service and scope.
SELECT service_name, scope_name, sum(count)::BIGINT AS count, any_value(example_trace_id) AS example_trace_id,
    any_value(example_span_id) AS example_span_id
FROM data_quality
WHERE date BETWEEN $first_date::DATE AND $last_date::DATE AND kind = 'orphan'
    AND (len($tenants::VARCHAR[]) = 0 OR list_contains($tenants::VARCHAR[], tenant))
    AND (len($services::VARCHAR[]) = 0 OR list_contains($services::VARCHAR[], service_name))
GROUP BY ALL
ORDER BY count DESC
