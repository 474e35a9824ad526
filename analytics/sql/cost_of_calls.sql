-- Spend by provider and model, of one session ($session, NULL = all) or any window, to the microsecond.
SELECT provider, coalesce(response_model, request_model) AS model, count(*) AS calls,
    count(*) FILTER (status = 'error') AS errors, sum(input_tokens)::BIGINT AS input_tokens,
    sum(output_tokens)::BIGINT AS output_tokens, sum(cache_read_tokens)::BIGINT AS cache_read_tokens,
    sum(reasoning_tokens)::BIGINT AS reasoning_tokens, sum(cost::DECIMAL(38, 12))::DOUBLE AS cost,
    count(*) FILTER (price_confidence = 'unpriced') AS unpriced_calls
FROM {priced} AS c
WHERE {filter_spans} AND ($session::VARCHAR IS NULL OR session_id = $session::VARCHAR)
GROUP BY provider, model
ORDER BY cost DESC NULLS LAST, calls DESC, provider, model
