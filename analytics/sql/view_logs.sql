-- Log records. `body` and private attributes are encrypted: NULL here.
CREATE VIEW logs AS
SELECT date, tenant, trace_id, span_id, time, observed_time, severity_number, severity_text, event_name,
    NULL::VARCHAR AS body, service_name, service_version, environment, project, session_id, user_id, key_label,
    scope_name, scope_version, attributes::JSON AS attributes, attributes_typed::JSON AS attributes_typed,
    resource::JSON AS resource, flags, dropped_attributes, received_time, lower(hex(log_id)) AS log_id,
    lower(hex(private_block)) AS private_block, private_offset, private_length, time_nanos, observed_nanos,
    scope_attributes::JSON AS scope_attributes, resource_schema_url, scope_schema_url
FROM lake.logs
