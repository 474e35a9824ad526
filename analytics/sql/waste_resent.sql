-- What resending cost, by $resent_by: `tool` (what a tool was asked and answered; else the role), `prompt`, `thread`, `message`
-- or `role`. `sends` = how often messages of this key were sent again; `first_cost` = what sending them first had cost.
SELECT CASE $resent_by::VARCHAR WHEN 'tool' THEN coalesce(m.tool_name, CASE m.role WHEN 'tools' THEN 'tool definitions'
            WHEN 'system' THEN 'system text' ELSE m.role END)
        WHEN 'prompt' THEN coalesce(m.prompt_name, m.prompt_fingerprint)
        WHEN 'thread' THEN m.thread_id WHEN 'message' THEN m.message_id ELSE m.role END AS key,
    string_agg(DISTINCT m.role, ', ' ORDER BY m.role) AS roles, count(DISTINCT m.message_id) AS messages,
    count(*) FILTER (m.resent) AS sends, (sum(m.tokens) FILTER (m.resent))::BIGINT AS tokens,
    sum(m.cost) FILTER (m.resent) AS cost, sum(m.cost) FILTER (NOT m.resent) AS first_cost,
    count(*) FILTER (m.resent AND m.cost IS NULL) AS sends_without_cost,
    arg_max(m.trace_id, m.cost) FILTER (m.resent) AS example_trace_id,
    arg_max(m.span_id, m.cost) FILTER (m.resent) AS example_span_id
FROM {message_costs} AS m
GROUP BY key
HAVING sends > 0
ORDER BY cost DESC NULLS LAST, sends DESC, key
LIMIT $limit
