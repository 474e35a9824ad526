-- One row per candidate about which a decision was stored (analytics/suppression.py): the highest revision wins.
-- reason NULL = it is a call (again); fills = JSON of values that a call takes from its merged twins. A decision that
-- says neither is left out.
CREATE VIEW lake.decisions AS
SELECT date, tenant, trace_id, span_id, arg_max_null(reason, revision) AS reason,
    arg_max_null(merged_into, revision) AS merged_into, arg_max_null(fills, revision) AS fills
FROM lake.suppressed
GROUP BY date, tenant, trace_id, span_id
HAVING arg_max_null(reason, revision) IS NOT NULL OR arg_max_null(fills, revision) IS NOT NULL
