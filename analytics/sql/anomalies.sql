-- Anomalies in the range, newest first.
SELECT * FROM anomalies
WHERE window_end >= $start::TIMESTAMP AND window_start < $end::TIMESTAMP
    AND (len($tenants::VARCHAR[]) = 0 OR list_contains($tenants::VARCHAR[], tenant))
ORDER BY window_start DESC
