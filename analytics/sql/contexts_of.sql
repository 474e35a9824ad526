-- The contexts of the spans of chosen traces: heads and anchors of their chains, highest revision.
SELECT h.date, h.tenant, h.trace_id, h.span_id, h.direction, h.source, h.tools_id, h.system_id, h.head, h.anchors, h.first,
    h.count, h.thread_id, h.chars, l.shared_messages
FROM scope.lake_heads AS h
LEFT JOIN scope.lake_continuations AS l USING (date, tenant, trace_id, span_id)
