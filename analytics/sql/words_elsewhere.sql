-- Where words lie that a message row does not locate itself.
SELECT content_id, any_value(struct_pack(block_id := block_id, "offset" := "offset", length := length)) AS words
FROM lake.messages
WHERE date = $day::DATE AND tenant = $tenant AND block_id IS NOT NULL
    AND content_id IN (SELECT unnest($ids::BLOB[]))
GROUP BY content_id
