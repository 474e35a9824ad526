-- The rows of one page of traces; its keys come from trace_keys. Spans more than a day before or after the kept ones are
-- left out of a row's sums.
WITH page AS (
    SELECT unnest($page_tenants::VARCHAR[]) AS tenant, unnest($page_ids::VARCHAR[]) AS trace_id,
        unnest($page_times::TIMESTAMP[]) AS page_time
)
SELECT r.*, p.page_time, coalesce(v.state, 'unreviewed') AS review_state, v.updated_at AS reviewed_at, v.who AS reviewer
FROM scope.traces AS r
JOIN page AS p USING (tenant, trace_id)
LEFT JOIN reviews AS v ON v.kind = 'trace' AND v.tenant = r.tenant AND v.trace_id = r.trace_id
ORDER BY p.page_time DESC, r.trace_id DESC
