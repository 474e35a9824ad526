-- Which spans a filter record keeps (analytics/filters.py); an empty list means all.
date BETWEEN $first_date::DATE AND $last_date::DATE
AND start_time >= $start::TIMESTAMP AND start_time < $end::TIMESTAMP
AND (len($tenants::VARCHAR[]) = 0 OR list_contains($tenants::VARCHAR[], tenant))
AND (len($services::VARCHAR[]) = 0 OR list_contains($services::VARCHAR[], service_name))
AND (len($environments::VARCHAR[]) = 0 OR list_contains($environments::VARCHAR[], environment))
AND (len($projects::VARCHAR[]) = 0 OR list_contains($projects::VARCHAR[], project))
AND (len($keys::VARCHAR[]) = 0 OR list_contains($keys::VARCHAR[], key_label))
AND (len($providers::VARCHAR[]) = 0 OR list_contains($providers::VARCHAR[], provider))
AND (len($models::VARCHAR[]) = 0 OR list_contains($models::VARCHAR[], coalesce(response_model, request_model)))
AND (len($operations::VARCHAR[]) = 0 OR list_contains($operations::VARCHAR[], operation))
AND (len($statuses::VARCHAR[]) = 0 OR list_contains($statuses::VARCHAR[], status))
AND (len($tags::VARCHAR[]) = 0 OR list_has_any($tags::VARCHAR[], tags))
AND ($text::VARCHAR IS NULL OR contains(lower(concat_ws(' ', name, trace_id, span_id, session_id, conversation_id, user_id,
    service_name, request_model, response_model, response_id, agent_name, tool_name, error_type)), lower($text::VARCHAR)))
