-- Traces that wait for a decision, by rule ($rule: errors | costly | slow | unpriced | flagged | all), most reasons first.
-- Chosen from the newest traces that the filter keeps (trace_keys). costly and slow = above the 95th percentile of these.
-- The screen leaves out what was decided since this snapshot was published.
WITH rows AS (FROM scope.traces),
limits AS (SELECT quantile_cont(cost, 0.95) AS cost, quantile_cont(duration_ms, 0.95) AS duration_ms FROM rows)
SELECT r.*, coalesce(v.state, 'unreviewed') AS review_state, coalesce(v.revision, 0) AS review_revision,
    list_filter([
        CASE WHEN r.errors > 0 THEN 'errors' END,
        CASE WHEN r.cost > m.cost THEN 'costly' END,
        CASE WHEN r.duration_ms > m.duration_ms THEN 'slow' END,
        CASE WHEN r.unpriced_calls > 0 THEN 'unpriced' END
    ], lambda x: x IS NOT NULL) AS reasons
FROM rows AS r
CROSS JOIN limits AS m
LEFT JOIN reviews AS v ON v.kind = 'trace' AND v.tenant = r.tenant AND v.trace_id = r.trace_id
WHERE CASE $rule
    WHEN 'errors' THEN r.errors > 0
    WHEN 'costly' THEN r.cost > m.cost
    WHEN 'slow' THEN r.duration_ms > m.duration_ms
    WHEN 'unpriced' THEN r.unpriced_calls > 0
    WHEN 'flagged' THEN v.state = 'flagged'
    ELSE true END
ORDER BY len(reasons) DESC, r.start_time DESC, r.trace_id
LIMIT $limit
