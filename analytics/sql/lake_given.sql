-- The messages that each span was given, as one list of their ids in order. Unfolded without recursion: an anchor row's
-- path and itself are 16 messages, the head row's path and itself are the rest.
CREATE VIEW lake.given AS
WITH known AS (  -- a message may lie twice in a day's files until compaction
    SELECT date, tenant, message_id, any_value(list_append(path, message_id)) AS ids
    FROM lake.messages
    GROUP BY date, tenant, message_id
),
chunks AS (
    SELECT date, tenant, trace_id, span_id, unnest(chunks) AS chunk, generate_subscripts(chunks, 1) AS place
    FROM (
        SELECT date, tenant, trace_id, span_id, list_append(coalesce(input_anchors, []::BLOB[]), input_head) AS chunks
        FROM lake.ends
        WHERE input_head IS NOT NULL
    )
)
SELECT c.date, c.tenant, c.trace_id, c.span_id, flatten(list(k.ids ORDER BY c.place)) AS ids
FROM chunks AS c
JOIN known AS k ON k.date = c.date AND k.tenant = c.tenant AND k.message_id = c.chunk
GROUP BY c.date, c.tenant, c.trace_id, c.span_id
