-- The part of span_messages that belongs to billable calls.
CREATE VIEW call_messages AS
SELECT m.*
FROM span_messages AS m
JOIN lake.calls AS c USING (date, tenant, trace_id, span_id)
