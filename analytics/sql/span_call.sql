-- One call, whole row.
SELECT * FROM calls
WHERE span_id = $span_id AND ($trace_id::VARCHAR IS NULL OR trace_id = $trace_id::VARCHAR)
ORDER BY start_time
