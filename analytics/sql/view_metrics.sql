-- Metric points as sent. Private attributes and exemplars are encrypted and not here.
CREATE VIEW metrics AS
SELECT date, tenant, name, description, unit, type, temporality, monotonic, start_time, time, value, count, sum, min,
    max, buckets::JSON AS buckets, service_name, service_version, environment, project, key_label, scope_name,
    scope_version, attributes::JSON AS attributes, resource::JSON AS resource, flags, received_time,
    lower(hex(point_id)) AS point_id, value_int, exemplars::JSON AS exemplars, metadata::JSON AS metadata, session_id,
    user_id, attributes_typed::JSON AS attributes_typed, scope_attributes::JSON AS scope_attributes,
    resource_schema_url, scope_schema_url, lower(hex(private_block)) AS private_block, private_offset, private_length
FROM lake.metrics
