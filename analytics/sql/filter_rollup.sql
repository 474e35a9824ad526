-- Which rollup rows a filter record keeps: of all hours that the range touches.
date BETWEEN $first_date::DATE AND $last_date::DATE
AND hour >= date_trunc('hour', $start::TIMESTAMP) AND hour < $end::TIMESTAMP
AND (len($tenants::VARCHAR[]) = 0 OR list_contains($tenants::VARCHAR[], tenant))
AND (len($services::VARCHAR[]) = 0 OR list_contains($services::VARCHAR[], service_name))
AND (len($environments::VARCHAR[]) = 0 OR list_contains($environments::VARCHAR[], environment))
AND (len($projects::VARCHAR[]) = 0 OR list_contains($projects::VARCHAR[], project))
AND (len($keys::VARCHAR[]) = 0 OR list_contains($keys::VARCHAR[], key_label))
AND (len($providers::VARCHAR[]) = 0 OR list_contains($providers::VARCHAR[], provider))
AND (len($models::VARCHAR[]) = 0 OR list_contains($models::VARCHAR[], model))
AND (len($operations::VARCHAR[]) = 0 OR list_contains($operations::VARCHAR[], operation))
