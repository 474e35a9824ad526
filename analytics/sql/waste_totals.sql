-- What the calls of a range cost, and what of it bought nothing new: resending messages, what the provider's cache did not
-- give, asking the same again. Unknown money is counted beside it. The three overlap: a message resent without the cache
-- is in the first two.
WITH kept AS (SELECT * FROM lake.priced AS c WHERE {filter_spans} AND {filter_review}),
resent AS (
    SELECT sum(m.cost) AS cost, sum(m.tokens)::BIGINT AS tokens
    FROM message_costs AS m SEMI JOIN kept USING (date, tenant, trace_id, span_id)
    WHERE m.resent AND m.date BETWEEN $first_date::DATE AND $last_date::DATE
),
cache AS (
    SELECT sum(u.missed_cost) AS cost, sum(u.missed_tokens)::BIGINT AS tokens, sum(u.expected_tokens)::BIGINT AS expected_tokens,
        sum(u.cache_read_tokens)::BIGINT AS read_tokens, count(*) FILTER (u.cause = 'not reported') AS not_reported
    FROM cache_use AS u SEMI JOIN kept USING (date, tenant, trace_id, span_id)
    WHERE u.date BETWEEN $first_date::DATE AND $last_date::DATE
),
again AS (
    SELECT coalesce(sum(r.cost) FILTER (r.kind = 'loop'), 0) AS loop_cost,
        coalesce(sum(r.cost) FILTER (r.kind <> 'loop'), 0) AS retry_cost,
        count(*) FILTER (r.kind = 'loop') AS loops, count(*) FILTER (r.kind <> 'loop') AS retries,
        count(*) FILTER (r.cost IS NULL) AS unknown
    FROM repeats AS r SEMI JOIN kept USING (date, tenant, trace_id, span_id)
    WHERE r.date BETWEEN $first_date::DATE AND $last_date::DATE
)
SELECT (SELECT sum(cost) FROM kept) AS cost, resent.cost AS resent_cost, resent.tokens AS resent_tokens,
    cache.cost AS missed_cost, cache.tokens AS missed_tokens, cache.expected_tokens, cache.read_tokens, cache.not_reported,
    again.loop_cost, again.loops, again.retry_cost, again.retries, again.unknown AS repeats_without_cost
FROM resent, cache, again
