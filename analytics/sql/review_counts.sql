-- Traces by review state in the range.
SELECT coalesce(v.state, 'unreviewed') AS state, count(*) AS traces
FROM (SELECT DISTINCT tenant, trace_id FROM lake.spans AS c WHERE {filter_spans}) AS t
LEFT JOIN reviews AS v ON v.kind = 'trace' AND v.tenant = t.tenant AND v.trace_id = t.trace_id
GROUP BY state
ORDER BY state
