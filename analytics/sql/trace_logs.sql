-- Log records of one trace.
SELECT * FROM logs WHERE trace_id = $trace_id ORDER BY time, log_id
