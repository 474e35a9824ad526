-- One row per call that continues another: the highest revision wins.
CREATE VIEW lake.continuations AS
SELECT date, tenant, trace_id, span_id, arg_max_null(continues_trace_id, revision) AS continues_trace_id,
    arg_max_null(continues_span_id, revision) AS continues_span_id, arg_max_null(root, revision) AS root,
    arg_max_null(shared_messages, revision) AS shared_messages
FROM lake.links
GROUP BY date, tenant, trace_id, span_id
