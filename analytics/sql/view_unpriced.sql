-- Models without a price, by volume, with the nearest known name.
CREATE VIEW unpriced AS
SELECT r.tenant, r.provider, r.model, sum(r.unpriced_calls)::BIGINT AS calls,
    sum(r.input_tokens)::BIGINT AS input_tokens, sum(r.output_tokens)::BIGINT AS output_tokens,
    min(r.hour) AS first_seen, max(r.hour) AS last_seen, any_value(u.suggestion) AS suggestion
FROM rollup_hourly AS r
LEFT JOIN (
    SELECT provider, coalesce(response_model, request_model) AS model, any_value(suggestion) AS suggestion
    FROM book.models
    GROUP BY ALL
) AS u ON u.provider IS NOT DISTINCT FROM r.provider AND u.model IS NOT DISTINCT FROM r.model
WHERE r.unpriced_calls > 0
GROUP BY r.tenant, r.provider, r.model
