"""The shape of price data: flat dated rows (public view `prices`) and wide rates joined to calls (`book.rates`)."""

from __future__ import annotations

import pyarrow as pa

BUCKETS = (  # price buckets in the order of the usage columns they are multiplied with (sql/cost.sql)
    "uncached_input", "cache_read", "cache_write", "cache_write_1h", "audio_input", "image_input", "text_output",
    "reasoning", "audio_output", "request", "web_search",
)  # fmt: skip
TIERS = ("standard", "default", "batch", "flex", "priority", "fast", "other")  # `other`: not known to the book
DAY_US = 86_400_000_000

PRICES = pa.schema(
    [
        ("price_key", pa.string()),  # provider/model as the book names them
        ("provider", pa.string()),
        ("model", pa.string()),
        ("bucket", pa.string()),  # one of BUCKETS, or a unit of the source that no token bucket holds (web_searches)
        ("unit", pa.string()),  # what one price is for: token, request, search, second, page, character
        ("price", pa.float64()),  # per one unit
        ("currency", pa.string()),
        ("tier_start", pa.int64()),  # applies above this many input tokens of the call; NULL = from the first
        ("context_key", pa.string()),  # NULL = standard; else processing, service_tier ...
        ("context_value", pa.string()),
        ("valid_from", pa.timestamp("us")),  # NULL = always
        ("valid_to", pa.timestamp("us")),  # exclusive; NULL = still
        ("day_from", pa.string()),  # daily interval HH:MM:SS UTC; NULL = all day
        ("day_to", pa.string()),
        ("layer", pa.string()),  # book | imported | negotiated | override: the later over the earlier
        ("source", pa.string()),
        ("book_version", pa.string()),
        ("known_from", pa.timestamp("us")),  # when this row became known here; NULL = from the beginning
        ("known_to", pa.timestamp("us")),  # when another row corrected it or took it back; NULL = still known
    ]
)

RATES = pa.schema(
    [
        ("provider", pa.string()),  # the three names as the sender gave them
        ("request_model", pa.string()),
        ("response_model", pa.string()),
        ("tier", pa.string()),
        ("price_key", pa.string()),
        ("rate_id", pa.string()),  # names the row in words: what a person reads beside a cost
        ("confidence", pa.string()),  # exact | assumed | fallback
        ("valid_from", pa.timestamp("us")),
        ("valid_to", pa.timestamp("us")),
        ("day_from_us", pa.int64()),
        ("day_to_us", pa.int64()),
        ("above_tokens", pa.int64()),
        ("up_to_tokens", pa.int64()),
        *[(bucket, pa.float64()) for bucket in BUCKETS],  # USD per token; `request` per call, `web_search` per search
    ]
)

EXCHANGE = pa.schema(
    [
        ("currency", pa.string()),
        ("day", pa.date32()),  # from this UTC day on, until the next stated one
        ("usd", pa.float64()),  # what one unit of the currency is worth
    ]
)

MODELS = pa.schema(
    [
        ("provider", pa.string()),
        ("request_model", pa.string()),
        ("response_model", pa.string()),
        ("price_key", pa.string()),  # NULL = unpriced
        ("confidence", pa.string()),  # exact | assumed | fallback | unpriced
        ("suggestion", pa.string()),  # nearest known name of an unpriced model
    ]
)
