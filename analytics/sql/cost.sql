-- The price of calls: every token bucket and web search times the rate of its model, service tier, context length and time.
-- `calls` is a relation with the columns of `lake.calls` (a view name, or a temporary table of fresh calls); the result
-- is that relation plus cost, currency, price_confidence and price_key. `rates` (book.rates) holds one row per (model names
-- as sent, tier, context range, period, time of day), so that at most one row fits a call. Rates are USD per token.
-- `input_rates` are, where they are asked for, the rates of the input's buckets, each as <bucket>_rate.
-- `priced_at` is the moment whose prices count: the start of the call, unless it is re-costed at other prices.
-- Cost is NULL only where no price is known or no usage at all was reported: an unknown bucket adds nothing, a total
-- whose split is unknown is billed at the base rate. A call that reported no usage has no confidence either, unless the
-- price is what is missing.
SELECT c.*,
    CASE WHEN r.price_key IS NOT NULL AND coalesce({any_usage}) IS NOT NULL THEN
        coalesce(c.uncached_input_tokens, greatest(c.input_tokens - {other_inputs}, 0), 0) * r.uncached_input
        + coalesce(c.cache_read_tokens, 0) * r.cache_read
        + coalesce(c.cache_write_tokens, 0) * r.cache_write
        + coalesce(c.cache_write_1h_tokens, 0) * r.cache_write_1h
        + coalesce(c.audio_input_tokens, 0) * r.audio_input
        + coalesce(c.image_input_tokens, 0) * r.image_input
        + coalesce(c.text_output_tokens, greatest(c.output_tokens - {other_outputs}, 0), 0) * r.text_output
        + coalesce(c.reasoning_tokens, 0) * r.reasoning
        + coalesce(c.audio_output_tokens, 0) * r.audio_output
        + r.request + coalesce(c.web_searches, 0) * r.web_search
    END AS cost,
    CASE WHEN r.price_key IS NOT NULL THEN 'USD' END AS currency,
    CASE WHEN coalesce({any_usage}) IS NOT NULL OR r.price_key IS NULL THEN coalesce(r.confidence, 'unpriced')
    END AS price_confidence,
    r.price_key, r.rate_id{input_rates}
FROM {calls} AS c
LEFT JOIN {rates} AS r
    ON r.provider IS NOT DISTINCT FROM c.provider
    AND r.request_model IS NOT DISTINCT FROM c.request_model
    AND r.response_model IS NOT DISTINCT FROM c.response_model
    AND r.tier = CASE coalesce(lower(c.service_tier), 'standard')
        WHEN 'standard' THEN 'standard' WHEN 'auto' THEN 'standard' WHEN 'on_demand' THEN 'standard'
        WHEN 'standard_only' THEN 'standard' WHEN 'default' THEN 'default' WHEN 'batch' THEN 'batch'
        WHEN 'flex' THEN 'flex' WHEN 'priority' THEN 'priority' WHEN 'fast' THEN 'fast' ELSE 'other' END
    AND {priced_at} >= r.valid_from AND {priced_at} < r.valid_to
    AND coalesce(c.input_tokens, 0) > r.above_tokens AND coalesce(c.input_tokens, 0) <= r.up_to_tokens
    AND epoch_us(c.start_time) % 86400000000 >= r.day_from_us AND epoch_us(c.start_time) % 86400000000 < r.day_to_us
