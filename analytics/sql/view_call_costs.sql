-- What each call cost by three bases: `cost` = true at its time as known now (as in `calls`), `cost_believed` = as believed
-- when it was made, `cost_today` = at the prices that hold when the snapshot was published. USD.
CREATE VIEW call_costs AS
SELECT c.date, c.tenant, c.trace_id, c.span_id, c.start_time, c.project, c.service_name, c.environment, c.key_label,
    c.provider, coalesce(c.response_model, c.request_model) AS model, c.service_tier, c.input_tokens, c.output_tokens,
    c.cost, c.cost_believed, c.cost_today, c.currency, c.price_confidence, c.price_key, c.rate_id, c.rate_believed,
    c.rate_today
FROM ({priced_three_ways}) AS c
