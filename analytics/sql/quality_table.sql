-- What could not be taken as sent, in the range, most frequent first (without orphans: orphan_table).
SELECT kind, detail, service_name, scope_name, sum(count)::BIGINT AS count,
    any_value(example_trace_id) AS example_trace_id, any_value(example_span_id) AS example_span_id,
    min(first_seen) AS first_seen
FROM data_quality
WHERE date BETWEEN $first_date::DATE AND $last_date::DATE AND kind <> 'orphan'
    AND (len($tenants::VARCHAR[]) = 0 OR list_contains($tenants::VARCHAR[], tenant))
    AND (len($services::VARCHAR[]) = 0 OR list_contains($services::VARCHAR[], service_name))
GROUP BY ALL
ORDER BY count DESC, kind, detail
LIMIT $limit
