-- The traces of one page: those that hold a span which the filter keeps, newest first (page_time = its first kept span).
-- The next page begins below the last row's (page_time, trace_id): $before_time, $before_id; NULL for the first page.
WITH matching AS (
    SELECT tenant, trace_id, min(start_time) AS page_time, min(date) AS first_day, max(date) AS last_day
    FROM lake.spans AS c
    WHERE {filter_spans} AND {filter_review}
    GROUP BY tenant, trace_id
)
SELECT * FROM matching
WHERE $before_time::TIMESTAMP IS NULL OR page_time < $before_time::TIMESTAMP
    OR (page_time = $before_time::TIMESTAMP AND trace_id < $before_id::VARCHAR)
ORDER BY page_time DESC, trace_id DESC
LIMIT $limit
