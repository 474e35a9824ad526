-- The rows of one page of conversations; its keys come from conversation_keys.
WITH page AS (
    SELECT unnest($page_tenants::VARCHAR[]) AS tenant, unnest($page_ids::VARCHAR[]) AS conversation,
        unnest($page_times::TIMESTAMP[]) AS page_time
)
SELECT r.*, p.page_time
FROM scope.conversations AS r
JOIN page AS p USING (tenant, conversation)
ORDER BY p.page_time DESC, r.conversation DESC
