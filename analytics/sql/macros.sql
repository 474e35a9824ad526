-- Latency buckets: bucket i (1-based) holds durations in [2^((i-1)/2), 2^(i/2)) ms.
-- latency_bounds() = the upper bounds; merge_latency(column) adds buckets up over rows; latency_quantile(buckets, q) =
-- the duration in ms at quantile q, interpolated inside its bucket (NULL without calls).
CREATE MACRO latency_bounds() AS list_transform(range(1, {latency_count} + 1), lambda i: 2 ** (i / 2));
CREATE MACRO merge_latency(buckets) AS {latency_merge};
CREATE MACRO latency_rank(buckets, q) AS greatest(q * list_sum(buckets), 1e-9);
CREATE MACRO latency_bucket(buckets, q) AS list_position(list_transform(range(1, {latency_count} + 1),
    lambda i: list_sum(buckets[1:i]) >= latency_rank(buckets, q)), true);
CREATE MACRO latency_quantile(buckets, q) AS CASE WHEN list_sum(buckets) > 0 THEN
    (CASE WHEN latency_bucket(buckets, q) = 1 THEN 0 ELSE 2 ** ((latency_bucket(buckets, q) - 1) / 2) END)
    + (latency_rank(buckets, q) - coalesce(list_sum(buckets[1:latency_bucket(buckets, q) - 1]), 0))
    / buckets[latency_bucket(buckets, q)]
    * (2 ** (latency_bucket(buckets, q) / 2)
       - CASE WHEN latency_bucket(buckets, q) = 1 THEN 0 ELSE 2 ** ((latency_bucket(buckets, q) - 1) / 2) END)
    END
