-- How many conversations have a call that the filter keeps.
SELECT count(*) AS conversations
FROM (SELECT DISTINCT tenant, conversation FROM lake.threaded AS c WHERE {filter_spans} AND {filter_review})
