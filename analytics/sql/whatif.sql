-- Recorded usage of the models that $model names (a name or a glob), priced as another one: by month, model and service.
-- The rates of the other model are in `whatif_rates`, a table of the caller; $tier NULL keeps the tier of each call.
-- Tokens stay as recorded: another model counts them a little otherwise and answers at another length.
SELECT date_trunc('month', start_time)::DATE AS month, was_provider AS provider, was_model AS model, service_name,
    count(*) AS calls, sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
    sum(cost_before::DECIMAL(38, 12))::DOUBLE AS cost, sum(cost::DECIMAL(38, 12))::DOUBLE AS cost_as,
    sum(cost::DECIMAL(38, 12) - cost_before::DECIMAL(38, 12))::DOUBLE AS change,
    count(*) FILTER (was = 'unpriced') AS unpriced_calls,
    count(*) FILTER (cost IS NULL) AS calls_without_usage,
    count(*) FILTER (price_confidence <> 'exact') AS assumed_calls
FROM ({after})
GROUP BY ALL
ORDER BY month, cost DESC NULLS LAST, provider, model, service_name
