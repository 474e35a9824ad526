-- The calls of one day as the rollup takes them: each begins to count once. Used to compute the rollup anew.
SELECT *, (duration_ms * 1e6)::BIGINT AS duration_ns, 1::BIGINT AS sign
FROM lake.calls
WHERE date = $day::DATE
