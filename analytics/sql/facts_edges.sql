-- The same where a period begins or ends within an hour ($start, $split, $end): whole hours from the rollup, the hours
-- at the edges from their calls.
SELECT * FROM ({facts_rollup}) WHERE hour NOT IN ({edge_hours})
UNION ALL
SELECT * FROM ({facts_calls})
WHERE date IN ($start::TIMESTAMP::DATE, $split::TIMESTAMP::DATE, $end::TIMESTAMP::DATE)
    AND date_trunc('hour', hour) IN ({edge_hours})
