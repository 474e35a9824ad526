-- What each span was given, in the order in which providers cache it: tool definitions (position -2), system text (-1),
-- then the messages. `resent` = the call that this one continues had seen or said it; NULL where the span continues none.
CREATE VIEW lake.held AS
WITH ends AS (
    SELECT e.*, p.tools_id AS tools_before, p.system_id AS system_before
    FROM lake.ends AS e
    LEFT JOIN lake.ends AS p
        ON p.tenant = e.tenant AND p.trace_id = e.continues_trace_id AND p.span_id = e.continues_span_id
),
places AS (
    SELECT date, tenant, trace_id, span_id, position, message_id, NOT is_new AS resent
    FROM span_messages
    WHERE direction = 'input'
    UNION ALL
    SELECT date, tenant, trace_id, span_id, -2, lower(hex(tools_id)), tools_id IS NOT DISTINCT FROM tools_before
    FROM ends
    WHERE tools_id IS NOT NULL
    UNION ALL
    SELECT date, tenant, trace_id, span_id, -1, lower(hex(system_id)), system_id IS NOT DISTINCT FROM system_before
    FROM ends
    WHERE system_id IS NOT NULL
)
SELECT h.*, m.content_id, m.match_id, m.role, m.tool_name, m.tool_key, m.chars
FROM places AS h
JOIN main.messages AS m USING (date, tenant, message_id)
