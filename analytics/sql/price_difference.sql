-- What another price book would change, by month and model. `changed_models` (names as sent), `rates_before` and
-- `rates_after` are tables of the caller. NULL cost = no call of it has a price.
-- Only where something changes.
SELECT date_trunc('month', start_time)::DATE AS month, provider, coalesce(response_model, request_model) AS model,
    count(*) AS calls, sum(cost_before::DECIMAL(38, 12))::DOUBLE AS cost_before,
    sum(cost::DECIMAL(38, 12))::DOUBLE AS cost_after,
    coalesce(sum(cost::DECIMAL(38, 12)), 0)::DOUBLE - coalesce(sum(cost_before::DECIMAL(38, 12)), 0)::DOUBLE AS change,
    count(*) FILTER (was = 'unpriced') AS unpriced_before,
    count(*) FILTER (price_confidence = 'unpriced') AS unpriced_after
FROM ({after})
GROUP BY ALL
HAVING cost_after IS DISTINCT FROM cost_before OR unpriced_after <> unpriced_before
ORDER BY month, abs(change) DESC, provider, model
