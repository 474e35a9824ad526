-- The rates that count now for these models ($models: response or request names), one row a tier and context range.
SELECT DISTINCT provider, coalesce(response_model, request_model) AS model, tier, above_tokens, price_key, rate_id, confidence,
    valid_from, uncached_input, cache_read, cache_write, text_output
FROM book.rates
WHERE list_contains($models::VARCHAR[], coalesce(response_model, request_model)) AND tier = 'standard'
    AND valid_to > (SELECT published_at FROM meta.snapshot)
ORDER BY model, provider, above_tokens, valid_from
