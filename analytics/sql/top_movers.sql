-- Which values of one dimension ($by) changed cost the most against the period before.
WITH facts AS ({facts}),
numbers AS (
    SELECT {dimension} AS key,
        coalesce(sum(cost_exact) FILTER (hour >= date_trunc('hour', $current_start::TIMESTAMP)), 0)::DOUBLE AS cost,
        coalesce(sum(cost_exact) FILTER (hour < date_trunc('hour', $current_start::TIMESTAMP)), 0)::DOUBLE AS previous_cost,
        coalesce(sum(calls) FILTER (hour >= date_trunc('hour', $current_start::TIMESTAMP)), 0)::BIGINT AS calls,
        coalesce(sum(calls) FILTER (hour < date_trunc('hour', $current_start::TIMESTAMP)), 0)::BIGINT AS previous_calls
    FROM facts
    GROUP BY key
)
SELECT key, cost, previous_cost, cost - previous_cost AS change, calls, previous_calls,
    CASE WHEN previous_cost > 0 THEN cost / previous_cost - 1 END AS change_ratio
FROM numbers
ORDER BY abs(cost - previous_cost) DESC, key
LIMIT $limit
