-- How the cost of one call came about: one row a bucket with tokens, rate and amount.
WITH c AS (FROM lake.priced WHERE trace_id = $trace_id AND span_id = $span_id)
SELECT b.bucket, b.tokens, b.rate, b.tokens * b.rate AS amount, c.price_key, c.rate_id, c.price_confidence, c.cost
FROM c
JOIN book.rates AS r ON r.rate_id = c.rate_id
    AND r.provider IS NOT DISTINCT FROM c.provider AND r.request_model IS NOT DISTINCT FROM c.request_model
    AND r.response_model IS NOT DISTINCT FROM c.response_model,
LATERAL (VALUES
    ('uncached_input', coalesce(c.uncached_input_tokens, greatest(c.input_tokens - {other_inputs}, 0)), r.uncached_input),
    ('cache_read', c.cache_read_tokens, r.cache_read),
    ('cache_write', c.cache_write_tokens, r.cache_write),
    ('cache_write_1h', c.cache_write_1h_tokens, r.cache_write_1h),
    ('audio_input', c.audio_input_tokens, r.audio_input),
    ('image_input', c.image_input_tokens, r.image_input),
    ('text_output', coalesce(c.text_output_tokens, greatest(c.output_tokens - {other_outputs}, 0)), r.text_output),
    ('reasoning', c.reasoning_tokens, r.reasoning),
    ('audio_output', c.audio_output_tokens, r.audio_output),
    ('request', 1, nullif(r.request, 0)),
    ('web_search', c.web_searches, nullif(r.web_search, 0))
) AS b(bucket, tokens, rate)
WHERE b.tokens IS NOT NULL AND b.rate IS NOT NULL
