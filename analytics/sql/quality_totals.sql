-- Health figures of the range: calls, calls without usage, without a model, without a price; redactions by rule.
WITH facts AS (SELECT * FROM rollup_hourly WHERE {filter_rollup})
SELECT sum(calls)::BIGINT AS calls, sum(calls - known_input_tokens)::BIGINT AS without_input_tokens,
    sum(calls - known_output_tokens)::BIGINT AS without_output_tokens,
    coalesce(sum(calls) FILTER (model IS NULL), 0)::BIGINT AS without_model,
    sum(unpriced_calls)::BIGINT AS unpriced_calls,
    (SELECT coalesce(sum(count), 0)::BIGINT FROM redactions
     WHERE date BETWEEN $first_date::DATE AND $last_date::DATE) AS redactions
FROM facts
