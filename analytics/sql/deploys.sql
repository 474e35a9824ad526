-- Deploys in the range, of the filtered services.
SELECT * FROM deploys
WHERE completed_at >= $start::TIMESTAMP AND completed_at < $end::TIMESTAMP
    AND (len($tenants::VARCHAR[]) = 0 OR list_contains($tenants::VARCHAR[], tenant))
    AND (len($services::VARCHAR[]) = 0 OR service IS NULL OR list_contains($services::VARCHAR[], service))
ORDER BY completed_at
