-- How often each redaction rule fired, by day, service and place; never what it found.
CREATE VIEW redactions AS
SELECT date, tenant, rule, service_name, place, sum(count)::BIGINT AS count
FROM lake.redactions
GROUP BY date, tenant, rule, service_name, place
