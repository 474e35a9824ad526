-- One row per span and direction whose content was found: the highest revision wins.
CREATE VIEW lake.heads AS
SELECT date, tenant, trace_id, span_id, direction, c.*
FROM (
    SELECT date, tenant, trace_id, span_id, direction,
        arg_max(struct_pack(source := source, tools_id := tools_id, system_id := system_id, head := head,
                            anchors := anchors, first := first, count := count, thread_id := thread_id,
                            chars := chars), revision) AS c
    FROM lake.contexts
    GROUP BY date, tenant, trace_id, span_id, direction
)
