-- The calls that `whatif` prices otherwise, with their cost and names as they were. A model is named as it was asked for, as it
-- answered, or as the price book calls it.
SELECT * EXCLUDE (cost, price_confidence, provider, request_model, response_model, service_tier, currency, price_key, rate_id),
    cost AS cost_before, price_confidence AS was, provider AS was_provider,
    coalesce(response_model, request_model) AS was_model, NULL::VARCHAR AS provider, $as::VARCHAR AS request_model,
    NULL::VARCHAR AS response_model, coalesce($tier::VARCHAR, service_tier) AS service_tier
FROM ({before}) AS c
WHERE (
        lower(coalesce(response_model, request_model)) GLOB lower($model::VARCHAR)
        OR lower(request_model) GLOB lower($model::VARCHAR)
        OR lower(price_key[instr(price_key, '/') + 1:]) GLOB lower($model::VARCHAR)
    )
    AND date >= $first_date::DATE AND date <= $last_date::DATE
