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
paths AS (
    SELECT date, tenant, message_id, any_value(list_append(path, message_id)) AS path, any_value(depth) AS depth
    FROM lake.messages
    GROUP BY date, tenant, message_id
),
places AS (
    SELECT c.*, p.depth - len(p.path) + 1 AS start_depth, p.path,
        unnest(range(1, len(p.path) + 1)) AS step
    FROM chunks AS c
    JOIN paths AS p ON p.date = c.date AND p.tenant = c.tenant AND p.message_id = c.chunk
)
SELECT date, tenant, trace_id, span_id, direction, start_depth + step - 1 - first AS position,
    lower(hex(path[step])) AS message_id,
    direction = 'output' OR start_depth + step - 1 >= coalesce(shared_messages, 0) AS is_new
FROM places
WHERE start_depth + step - 1 >= first
