-- Conversations from their calls: {calls} is a relation with the columns of lake.threaded.
SELECT tenant, conversation, min(date) AS date, min(start_time) AS start_time, max(end_time) AS end_time,
    epoch_us(max(end_time) - min(start_time)) / 1e3 AS duration_ms,
    count(*) AS calls, count(DISTINCT trace_id) AS turns, min(session_id) AS session_id, min(user_id) AS user_id,
    min(conversation_id) AS conversation_id,
    arg_min(service_name, start_time) AS service_name, arg_min(environment, start_time) AS environment,
    arg_min(project, start_time) AS project, arg_min(key_label, start_time) AS key_label,
    list_sort(list(DISTINCT agent_name) FILTER (agent_name IS NOT NULL)) AS agents,
    list_sort(list(DISTINCT coalesce(response_model, request_model))) AS models,
    count(*) FILTER (status = 'error') AS errors,
    CASE WHEN bool_or(status = 'error') THEN 'error' WHEN bool_or(status = 'canceled') THEN 'canceled'
         ELSE 'success' END AS worst_status,
    sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
    sum(cache_read_tokens)::BIGINT AS cache_read_tokens, sum(cost::DECIMAL(38, 12))::DOUBLE AS cost,
    count(*) FILTER (price_confidence = 'unpriced') AS unpriced_calls,
    arg_min(trace_id, start_time) AS first_trace_id, arg_max(trace_id, start_time) AS last_trace_id
FROM {calls}
GROUP BY tenant, conversation
