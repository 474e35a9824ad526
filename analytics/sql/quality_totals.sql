-- Health figures of the range: calls, calls without usage, without a model, without a price; redactions by rule.
WITH facts AS ({facts})
SELECT sum(calls)::BIGINT AS calls, sum(calls - known_input_tokens)::BIGINT AS without_input_tokens,
    sum(calls - known_output_tokens)::BIGINT AS without_output_tokens,
    coalesce(sum(calls) FILTER (model IS NULL), 0)::BIGINT AS without_model,
    sum(unpriced_calls)::BIGINT AS unpriced_calls,
    (SELECT coalesce(sum(count), 0)::BIGINT FROM redactions
     WHERE date BETWEEN $first_date::DATE AND $last_date::DATE
         AND (len($tenants::VARCHAR[]) = 0 OR list_contains($tenants::VARCHAR[], tenant))
         AND (len($services::VARCHAR[]) = 0 OR list_contains($services::VARCHAR[], service_name))) AS redactions
FROM facts
