-- One row per call that continues another: the highest revision wins.
CREATE VIEW lake.continuations AS
SELECT date, tenant, trace_id, span_id, l.continues_trace_id, l.continues_span_id, l.root, l.shared_messages
FROM (
    SELECT date, tenant, trace_id, span_id,
        arg_max(struct_pack(continues_trace_id := continues_trace_id, continues_span_id := continues_span_id,
                            root := root, shared_messages := shared_messages), revision) AS l
    FROM lake.links
    GROUP BY date, tenant, trace_id, span_id
)
