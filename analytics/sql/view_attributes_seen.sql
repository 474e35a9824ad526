-- Which attribute keys GenAI spans of each emitter and version carry, and on how many spans. Keys whose values are
-- encrypted and understood content are not among them.
CREATE VIEW attributes_seen AS
SELECT date, tenant, service_name, dialect, scope_name, scope_version, key, count(*) AS spans,
    arg_min(trace_id, start_time) AS example_trace_id, arg_min(span_id, start_time) AS example_span_id
FROM (
    SELECT date, tenant, service_name, dialect, scope_name, scope_version, trace_id, span_id, start_time,
        unnest(json_keys(attributes)) AS key
    FROM spans
    WHERE dialect IS NOT NULL
)
GROUP BY date, tenant, service_name, dialect, scope_name, scope_version, key
