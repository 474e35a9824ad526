-- Log records of one trace.
SELECT * FROM logs WHERE trace_id = $trace_id ORDER BY time, time_nanos, log_id
