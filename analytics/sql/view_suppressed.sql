-- Candidates that are not counted as calls, and why: container | twin | mirror.
CREATE VIEW suppressed AS
SELECT date, tenant, trace_id, span_id, reason, merged_into
FROM lake.decisions
WHERE reason IS NOT NULL
