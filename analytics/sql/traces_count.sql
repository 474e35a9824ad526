-- How many traces the filter keeps.
SELECT count(*) AS traces, coalesce(sum(spans), 0)::BIGINT AS spans
FROM (
    SELECT tenant, trace_id, count(*) AS spans
    FROM lake.spans AS c
    WHERE {filter_spans} AND {filter_review}
    GROUP BY tenant, trace_id
)
