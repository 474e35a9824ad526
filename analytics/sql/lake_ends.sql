-- One row per span with content or continuation: both of its contexts and its link side by side, each of the highest
-- revision. All in one aggregate without a WHERE: DuckDB then leaves the whole join out of a query that asks for none.
CREATE VIEW lake.ends AS
SELECT date, tenant, trace_id, span_id,
    arg_max_null(head, revision) FILTER (kind = 'input') AS input_head,
    arg_max_null(head, revision) FILTER (kind = 'output') AS output_head,
    arg_max_null(anchors, revision) FILTER (kind = 'input') AS input_anchors,
    arg_max_null(system_id, revision) FILTER (kind = 'input') AS system_id,
    arg_max_null(tools_id, revision) FILTER (kind = 'input') AS tools_id,
    coalesce(arg_max_null(thread_id, revision) FILTER (kind = 'input'),
        arg_max_null(thread_id, revision) FILTER (kind = 'output')) AS thread_id,
    arg_max_null(count, revision) FILTER (kind = 'input') AS input_count,
    arg_max_null(count, revision) FILTER (kind = 'output') AS output_count,
    arg_max_null(chars, revision) FILTER (kind = 'input') AS input_chars,
    arg_max_null(root, revision) FILTER (kind = 'link') AS root,
    arg_max_null(continues_trace_id, revision) FILTER (kind = 'link') AS continues_trace_id,
    arg_max_null(continues_span_id, revision) FILTER (kind = 'link') AS continues_span_id,
    arg_max_null(shared_messages, revision) FILTER (kind = 'link') AS shared_messages
FROM (
    SELECT date, tenant, trace_id, span_id, direction AS kind, revision, head, anchors, system_id, tools_id, thread_id, count, chars,
        NULL AS root, NULL AS continues_trace_id, NULL AS continues_span_id, NULL AS shared_messages
    FROM lake.contexts
    UNION ALL
    SELECT date, tenant, trace_id, span_id, 'link', revision, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        root, continues_trace_id, continues_span_id, shared_messages
    FROM lake.links
)
GROUP BY date, tenant, trace_id, span_id
