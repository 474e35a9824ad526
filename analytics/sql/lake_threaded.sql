-- The priced calls and the conversation each belongs to: linked by continuation, else the stated conversation or session
-- id, else the call alone.
CREATE VIEW lake.threaded AS
SELECT c.*, coalesce(l.root, c.conversation_id, c.session_id, c.trace_id || '/' || c.span_id) AS conversation,
    l.continues_trace_id, l.continues_span_id, l.shared_messages
FROM lake.priced AS c
LEFT JOIN lake.continuations AS l USING (date, tenant, trace_id, span_id)
