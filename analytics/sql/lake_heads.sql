-- One row per span and direction whose content was found: the highest revision wins.
CREATE VIEW lake.heads AS
SELECT date, tenant, trace_id, span_id, direction,
    arg_max_null(source, revision) AS source,
    arg_max_null(tools_id, revision) AS tools_id,
    arg_max_null(system_id, revision) AS system_id,
    arg_max_null(head, revision) AS head,
    arg_max_null(anchors, revision) AS anchors,
    arg_max_null(first, revision) AS first,
    arg_max_null(count, revision) AS count,
    arg_max_null(thread_id, revision) AS thread_id,
    arg_max_null(chars, revision) AS chars
FROM lake.contexts
GROUP BY date, tenant, trace_id, span_id, direction
