-- Everything kept of one span.
SELECT s.*, d.reason AS suppressed_reason, d.merged_into
FROM spans AS s
LEFT JOIN (FROM lake.decisions WHERE span_id = $span_id) AS d USING (date, tenant, trace_id, span_id)
WHERE s.span_id = $span_id AND ($trace_id::VARCHAR IS NULL OR s.trace_id = $trace_id::VARCHAR)
ORDER BY s.start_time
