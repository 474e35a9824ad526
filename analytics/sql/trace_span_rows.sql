-- Everything kept of the spans of one trace, oldest first.
SELECT s.*, d.reason AS suppressed_reason, d.merged_into
FROM spans AS s
LEFT JOIN (FROM lake.decisions WHERE trace_id = $trace_id) AS d USING (date, tenant, trace_id, span_id)
WHERE s.trace_id = $trace_id
ORDER BY s.start_time, s.start_nanos, s.span_id
