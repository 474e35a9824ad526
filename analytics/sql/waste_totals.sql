-- What the calls of a range cost, and what of it bought nothing new: resending messages, what the provider's cache did not
-- give, asking the same again. Unknown money is counted beside it. The three overlap: a message resent without the cache
-- is in the first two.
WITH resent AS (
    SELECT sum(m.cost) AS cost, sum(m.tokens)::BIGINT AS tokens
    FROM {message_costs} AS m
    WHERE m.resent
),
cache AS (
    SELECT sum(u.missed_cost) AS cost, sum(u.missed_tokens)::BIGINT AS tokens, sum(u.expected_tokens)::BIGINT AS expected_tokens,
        sum(u.cache_read_tokens)::BIGINT AS read_tokens, count(*) FILTER (u.cause = 'not reported') AS not_reported
    FROM {cache_use} AS u
),
again AS (
    SELECT coalesce(sum(r.cost) FILTER (r.kind = 'loop'), 0) AS loop_cost,
        coalesce(sum(r.cost) FILTER (r.kind <> 'loop'), 0) AS retry_cost,
        count(*) FILTER (r.kind = 'loop') AS loops, count(*) FILTER (r.kind <> 'loop') AS retries,
        count(*) FILTER (r.cost IS NULL) AS unknown
    FROM {repeats} AS r
)
SELECT (SELECT sum(cost::DECIMAL(38, 12))::DOUBLE FROM ({kept_calls})) AS cost, resent.cost AS resent_cost, resent.tokens AS resent_tokens,
    cache.cost AS missed_cost, cache.tokens AS missed_tokens, cache.expected_tokens, cache.read_tokens, cache.not_reported,
    again.loop_cost, again.loops, again.retry_cost, again.retries, again.unknown AS repeats_without_cost
FROM resent, cache, again
