-- Redactions in the range by rule, service and place.
SELECT rule, service_name, place, sum(count)::BIGINT AS count
FROM redactions
WHERE date BETWEEN $first_date::DATE AND $last_date::DATE
    AND (len($tenants::VARCHAR[]) = 0 OR list_contains($tenants::VARCHAR[], tenant))
    AND (len($services::VARCHAR[]) = 0 OR list_contains($services::VARCHAR[], service_name))
GROUP BY ALL
ORDER BY count DESC, rule
