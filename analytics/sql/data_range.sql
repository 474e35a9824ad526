-- When the first and last calls and spans of any kind began: what an empty screen offers instead.
SELECT min(hour) AS first_call, max(hour) AS last_call, sum(calls)::BIGINT AS calls,
    (SELECT spans FROM meta.snapshot) AS spans
FROM rollup_hourly
