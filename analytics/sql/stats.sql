-- Rows of every stored table, for `spanfold stats`.
SELECT 'spans' AS name, count(*) AS rows FROM lake.spans
UNION ALL SELECT 'calls', count(*) FROM lake.calls
UNION ALL SELECT 'contexts', count(*) FROM lake.contexts
UNION ALL SELECT 'messages', count(*) FROM lake.messages
UNION ALL SELECT 'logs', count(*) FROM lake.logs
UNION ALL SELECT 'metrics', count(*) FROM lake.metrics
