-- The calls whose models are in `changed_models`, a table of the caller.
SELECT c.*
FROM lake.calls AS c
WHERE EXISTS (
    FROM changed_models AS m
    WHERE m.provider IS NOT DISTINCT FROM c.provider AND m.request_model IS NOT DISTINCT FROM c.request_model
        AND m.response_model IS NOT DISTINCT FROM c.response_model
)
