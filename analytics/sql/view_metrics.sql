-- Metric points as sent.
CREATE VIEW metrics AS
SELECT date, tenant, name, description, unit, type, temporality, monotonic, start_time, time, value, count, sum, min,
    max, buckets::JSON AS buckets, service_name, service_version, environment, project, key_label, scope_name,
    scope_version, attributes::JSON AS attributes, resource::JSON AS resource, flags, received_time,
    lower(hex(point_id)) AS point_id
FROM lake.metrics
