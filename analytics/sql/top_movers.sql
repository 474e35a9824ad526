-- Which values of one dimension ($by) changed cost the most against the period before. The cost of a period is NULL
-- when it has calls and none of them has a price.
WITH facts AS ({facts}),
sums AS (
    SELECT {dimension} AS key,
        sum(cost_exact) FILTER (hour >= $split::TIMESTAMP) AS known,
        sum(cost_exact) FILTER (hour < $split::TIMESTAMP) AS known_before,
        coalesce(sum(calls) FILTER (hour >= $split::TIMESTAMP), 0)::BIGINT AS calls,
        coalesce(sum(calls) FILTER (hour < $split::TIMESTAMP), 0)::BIGINT AS previous_calls
    FROM facts
    GROUP BY key
),
numbers AS (
    SELECT key, coalesce(known, CASE WHEN calls = 0 THEN 0 END)::DOUBLE AS cost,
        coalesce(known_before, CASE WHEN previous_calls = 0 THEN 0 END)::DOUBLE AS previous_cost, calls, previous_calls
    FROM sums
)
SELECT key, cost, previous_cost, cost - previous_cost AS change, calls, previous_calls,
    CASE WHEN previous_cost > 0 THEN cost / previous_cost - 1 END AS change_ratio
FROM numbers
ORDER BY abs(change) DESC NULLS LAST, calls DESC, key
LIMIT $limit
