-- Models without a price in the range, by volume.
SELECT r.tenant, r.provider, r.model, sum(r.unpriced_calls)::BIGINT AS calls,
    sum(r.input_tokens)::BIGINT AS input_tokens, sum(r.output_tokens)::BIGINT AS output_tokens,
    min(r.hour) AS first_seen, max(r.hour) AS last_seen, any_value(u.suggestion) AS suggestion
FROM (SELECT * FROM ({facts}) WHERE unpriced_calls > 0) AS r
LEFT JOIN unpriced AS u ON u.tenant = r.tenant AND u.provider IS NOT DISTINCT FROM r.provider
    AND u.model IS NOT DISTINCT FROM r.model
GROUP BY r.tenant, r.provider, r.model
ORDER BY calls DESC, r.model
LIMIT $limit
