-- The message chain, each place in a history once a day and tenant. Words are encrypted: `content` is NULL here.
-- Tools and system text stand beside the chain at depth -1.
CREATE VIEW messages AS
SELECT date, tenant, lower(hex(message_id)) AS message_id, lower(hex(m.parent_id)) AS parent_id,
    lower(hex(m.content_id)) AS content_id, lower(hex(m.thread_id)) AS thread_id, m.depth, m.role, m.chars,
    m.redactions, first_seen, NULL::JSON AS content, lower(hex(coalesce(m.match_id, message_id))) AS match_id,
    m.tool_name, lower(hex(m.tool_key)) AS tool_key
FROM (
    SELECT date, tenant, message_id, min(first_seen) AS first_seen,
        any_value(struct_pack(parent_id := coalesce(parent_id, path[-1]), content_id := content_id,
                              match_id := match_id, thread_id := thread_id, depth := depth, role := role,
                              tool_name := tool_name, tool_key := tool_key,
                              chars := chars, redactions := redactions)) AS m
    FROM lake.messages
    GROUP BY date, tenant, message_id
)
