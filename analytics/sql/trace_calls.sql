-- The calls of one trace, whole rows.
SELECT * FROM calls WHERE trace_id = $trace_id ORDER BY start_time, span_id
