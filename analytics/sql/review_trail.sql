-- The decisions about one trace and its spans and messages, oldest first.
SELECT * FROM review_events WHERE trace_id = $trace_id ORDER BY seq
