-- Which messages a span was given (input) or gave (output), in order. Unfolded without recursion: an anchor row's path
-- and itself are 16 messages, the head row's path and itself are the rest. Position counts from the context's first.
CREATE VIEW span_messages AS
WITH chunks AS (
    SELECT h.date, h.tenant, h.trace_id, h.span_id, h.direction, h.first, l.shared_messages,
        unnest(list_append(coalesce(h.anchors, []::BLOB[])[h.first // 16 + 1:], h.head)) AS chunk
    FROM lake.heads AS h
    LEFT JOIN lake.continuations AS l USING (date, tenant, trace_id, span_id)
    WHERE h.head IS NOT NULL
),
paths AS (  -- a message may lie twice in a day's files until compaction
    SELECT c.date, c.tenant, c.trace_id, c.span_id, c.direction, c.first, c.shared_messages, c.chunk,
        any_value(list_append(m.path, m.message_id)) AS path, any_value(m.depth - len(m.path)) AS start_depth
    FROM chunks AS c
    JOIN lake.messages AS m ON m.date = c.date AND m.tenant = c.tenant AND m.message_id = c.chunk
    GROUP BY ALL
),
places AS (
    SELECT *, unnest(range(1, len(path) + 1)) AS step FROM paths
)
SELECT date, tenant, trace_id, span_id, direction, start_depth + step - 1 - first AS position,
    lower(hex(path[step])) AS message_id,
    direction = 'output' OR start_depth + step - 1 >= coalesce(shared_messages, 0) AS is_new
FROM places
WHERE start_depth + step - 1 >= first
