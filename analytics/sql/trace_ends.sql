-- The calls that hold the first question and the last answer of chosen traces ($trace_ids, $first_day, $last_day).
SELECT h.tenant, h.trace_id,
    arg_min(struct_pack(date := h.date, span_id := h.span_id), c.start_time) FILTER (h.direction = 'input') AS question,
    arg_max(struct_pack(date := h.date, span_id := h.span_id), c.start_time) FILTER (h.direction = 'output') AS answer
FROM scope.lake_heads AS h
JOIN scope.lake_calls AS c USING (date, tenant, trace_id, span_id)
GROUP BY h.tenant, h.trace_id
