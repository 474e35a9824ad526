-- The days that hold calls, from $since on.
SELECT DISTINCT date
FROM lake.rollup
WHERE date >= $since::DATE
ORDER BY date
