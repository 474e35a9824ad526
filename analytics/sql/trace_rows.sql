-- Traces from their spans: {spans} is a relation with the columns of lake.spans, {calls} one with those of lake.priced.
-- Lifecycle: running = the root has not come and the last span is younger than 15 minutes (at the time of the snapshot);
-- failed = the root ended in error; needs_review = another span did; completed otherwise. A trace without a root takes
-- its name from the earliest span, whose parent is missing.
WITH spans_of AS (
    SELECT tenant, trace_id, min(date) AS date,
        arg_min(struct_pack(name := name, service_name := service_name, environment := environment, project := project,
                            key_label := key_label, span_id := span_id, status := status,
                            parent_span_id := parent_span_id),
                struct_pack(child := parent_span_id IS NOT NULL, at := start_time, nanos := start_nanos)) AS root,
        min(start_time) AS start_time, max({end_time}) AS end_time, count(*) AS spans,
        count(*) FILTER (status = 'error') AS errors, count(*) FILTER (status = 'canceled') AS canceled,
        min(session_id) AS session_id, min(user_id) AS user_id,
        min(conversation_id) AS conversation_id, min(agent_name) AS agent_name,
        list_sort(list_distinct(flatten(list(tags) FILTER (tags IS NOT NULL)))) AS tags,
        list_sort(list(DISTINCT s.service_name) FILTER (s.service_name IS NOT NULL)) AS services,
        max(received_time) AS received_time
    FROM {spans} AS s
    GROUP BY tenant, trace_id
),
calls_of AS (
    SELECT tenant, trace_id, count(*) AS calls, sum(input_tokens)::BIGINT AS input_tokens,
        sum(output_tokens)::BIGINT AS output_tokens, sum(cache_read_tokens)::BIGINT AS cache_read_tokens,
        sum(cost::DECIMAL(38, 12))::DOUBLE AS cost, count(*) FILTER (price_confidence = 'unpriced') AS unpriced_calls,
        list_sort(list(DISTINCT coalesce(response_model, request_model))) AS models,
        list_sort(list(DISTINCT provider)) AS providers
    FROM {calls} AS c
    GROUP BY tenant, trace_id
)
SELECT t.date, t.tenant, t.trace_id, t.root.name AS name, t.root.span_id AS root_span_id,
    t.root.parent_span_id IS NULL AS has_root, t.root.service_name AS service_name, t.services,
    t.root.environment AS environment, t.root.project AS project, t.root.key_label AS key_label, t.start_time,
    t.end_time, epoch_us(t.end_time - t.start_time) / 1e3 AS duration_ms, t.spans, t.errors, t.canceled,
    coalesce(c.calls, 0) AS calls, c.input_tokens, c.output_tokens, c.cache_read_tokens, c.cost,
    coalesce(c.unpriced_calls, 0) AS unpriced_calls, c.models, c.providers, t.root.status AS status,
    CASE
        WHEN t.root.parent_span_id IS NOT NULL
            AND t.received_time > (SELECT published_at FROM meta.snapshot) - INTERVAL 15 MINUTE THEN 'running'
        WHEN t.root.status = 'error' THEN 'failed'
        WHEN t.errors > 0 THEN 'needs_review'
        ELSE 'completed'
    END AS lifecycle,
    t.session_id, t.user_id, t.conversation_id, t.agent_name, t.tags, t.received_time
FROM spans_of AS t
LEFT JOIN calls_of AS c USING (tenant, trace_id)
