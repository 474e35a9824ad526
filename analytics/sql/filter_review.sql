-- Keeps spans whose trace has one of these review states; `unreviewed` is a trace without a decision.
(len($review_states::VARCHAR[]) = 0 OR list_contains($review_states::VARCHAR[], coalesce((
    SELECT any_value(r.state) FROM reviews AS r
    WHERE r.kind = 'trace' AND r.tenant = c.tenant AND r.trace_id = c.trace_id), 'unreviewed')))
