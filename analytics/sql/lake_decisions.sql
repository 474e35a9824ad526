-- One row per candidate about which a decision was stored (analytics/suppression.py): the highest revision wins.
-- reason NULL = it is a call (again); fills = JSON of values that a call takes from its merged twins.
CREATE VIEW lake.decisions AS
SELECT date, tenant, trace_id, span_id, d.reason, d.merged_into, d.fills
FROM (
    SELECT date, tenant, trace_id, span_id,
        arg_max(struct_pack(reason := reason, merged_into := merged_into, fills := fills), revision) AS d
    FROM lake.suppressed
    GROUP BY date, tenant, trace_id, span_id
)
