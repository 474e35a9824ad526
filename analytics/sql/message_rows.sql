-- Message rows of one day and tenant by id, with where their words lie (NULL: where another row of the same words says).
SELECT message_id, any_value(content_id) AS content_id, any_value(path) AS path, any_value(depth) AS depth,
    any_value(role) AS role, any_value(chars) AS chars, any_value(redactions) AS redactions,
    arg_min(struct_pack(block_id := block_id, "offset" := "offset", length := length), block_id IS NULL) AS words
FROM lake.messages
WHERE date = $day::DATE AND tenant = $tenant AND message_id IN (SELECT unnest($ids::BLOB[]))
GROUP BY message_id
