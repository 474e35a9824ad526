-- Attributes seen in the range by emitter and version: how often each, and whether a rule of a dialect reads it
-- ($mapped: what rules read, as regular expressions over `dialect key`). Those that no rule reads first, most frequent first.
-- Understood content is kept apart and not listed.
WITH seen AS (
    SELECT dialect, scope_name, scope_version, key, sum(spans)::BIGINT AS spans,
        any_value(example_trace_id) AS example_trace_id, any_value(example_span_id) AS example_span_id
    FROM attributes_seen
    WHERE date BETWEEN $first_date::DATE AND $last_date::DATE
        AND (len($tenants::VARCHAR[]) = 0 OR list_contains($tenants::VARCHAR[], tenant))
        AND (len($services::VARCHAR[]) = 0 OR list_contains($services::VARCHAR[], service_name))
    GROUP BY ALL
)
SELECT *, regexp_full_match(dialect || ' ' || key, array_to_string($mapped::VARCHAR[], '|')) AS mapped
FROM seen
ORDER BY mapped, spans DESC, scope_name, key
LIMIT $limit
