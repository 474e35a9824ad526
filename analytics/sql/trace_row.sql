-- One trace with its review state.
SELECT t.*, coalesce(v.state, 'unreviewed') AS review_state, v.updated_at AS reviewed_at, v.who AS reviewer
FROM traces AS t
LEFT JOIN reviews AS v ON v.kind = 'trace' AND v.tenant = t.tenant AND v.trace_id = t.trace_id
WHERE t.trace_id = $trace_id
ORDER BY t.tenant
