-- The traces that the filter keeps, newest first, at most $limit: what a bulk action works on.
SELECT tenant, trace_id, min(start_time) AS start_time
FROM lake.spans AS c
WHERE {filter_spans} AND {filter_review}
GROUP BY tenant, trace_id
ORDER BY start_time DESC, trace_id DESC
LIMIT $limit
