-- The calls of one conversation, in order of time; its traces come from conversation_traces.
SELECT * FROM scope.calls WHERE conversation = $conversation ORDER BY start_time, span_id
