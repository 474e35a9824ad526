-- The conversations of one page: those with a call that the filter keeps, latest first, and the traces of their calls
-- within a day around the range. Paging as in trace_keys.
WITH keyed AS (
    SELECT date, tenant, trace_id, conversation, start_time, {filter_spans} AND {filter_review} AS kept
    FROM lake.threaded AS c
    WHERE date BETWEEN $first_date::DATE - 1 AND $last_date::DATE + 1
),
grouped AS (
    SELECT tenant, conversation, max(start_time) FILTER (kept) AS page_time, list_sort(list(DISTINCT trace_id)) AS trace_ids,
        min(date) AS first_day, max(date) AS last_day
    FROM keyed
    GROUP BY tenant, conversation
)
SELECT * FROM grouped
WHERE page_time IS NOT NULL AND ($before_time::TIMESTAMP IS NULL OR page_time < $before_time::TIMESTAMP
    OR (page_time = $before_time::TIMESTAMP AND conversation < $before_id::VARCHAR))
ORDER BY page_time DESC, conversation DESC
LIMIT $limit
