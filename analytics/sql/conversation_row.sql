-- One conversation; its traces come from conversation_traces.
SELECT * FROM scope.conversations WHERE conversation = $conversation ORDER BY tenant
