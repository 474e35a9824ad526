-- What each span was given, in the order in which providers cache it: tool definitions (position -2), system text (-1),
-- then the messages. `resent` = the call that this one continues had seen or said it; NULL where the span continues none.
-- Ids stay bytes here: a range holds tens of times as many places as calls.
CREATE VIEW lake.held AS
WITH known AS (
    SELECT date, tenant, message_id, any_value(role) AS role, any_value(tool_name) AS tool_name,
        any_value(tool_key) AS tool_key, any_value(chars) AS chars
    FROM lake.messages
    GROUP BY date, tenant, message_id
),
ends AS (
    SELECT e.*, p.tools_id AS tools_before, p.system_id AS system_before
    FROM lake.ends AS e
    LEFT JOIN lake.ends AS p
        ON p.tenant = e.tenant AND p.trace_id = e.continues_trace_id AND p.span_id = e.continues_span_id
),
steps AS (
    SELECT g.date, g.tenant, g.trace_id, g.span_id, coalesce(e.shared_messages, 0) AS shared_messages,
        unnest(g.ids) AS message_id, generate_subscripts(g.ids, 1) - 1 AS position
    FROM lake.given AS g
    JOIN lake.ends AS e USING (date, tenant, trace_id, span_id)
),
places AS (
    SELECT date, tenant, trace_id, span_id, position, message_id, position < shared_messages AS resent
    FROM steps
    UNION ALL
    SELECT date, tenant, trace_id, span_id, -2, tools_id, tools_id IS NOT DISTINCT FROM tools_before
    FROM ends
    WHERE tools_id IS NOT NULL
    UNION ALL
    SELECT date, tenant, trace_id, span_id, -1, system_id, system_id IS NOT DISTINCT FROM system_before
    FROM ends
    WHERE system_id IS NOT NULL
)
SELECT h.*, k.role, k.tool_name, k.tool_key, k.chars
FROM places AS h
JOIN known AS k USING (date, tenant, message_id)
