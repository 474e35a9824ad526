-- Which traces hold the calls of one conversation in the range.
SELECT tenant, conversation, list_sort(list(DISTINCT trace_id)) AS trace_ids, max(start_time) AS page_time, min(date) AS first_day,
    max(date) AS last_day
FROM lake.threaded
WHERE conversation = $conversation AND date BETWEEN $first_date::DATE AND $last_date::DATE
GROUP BY tenant, conversation
