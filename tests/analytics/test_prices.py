"""Prices: the flat book, what a model name means, and that the SQL gives what the source's own code gives."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider
from hypothesis import given, settings
from hypothesis import strategies as st

from spanfold.analytics.errors import PriceRefused
from spanfold.analytics.price_rates import unit_of
from spanfold.analytics.prices import PriceBook
from spanfold.analytics.views import cost_sql
from spanfold.semconv.schema import COUNT_COLUMNS, SPANS
from tests.analytics.lake import usage

NOVEMBER = dt.datetime(2026, 11, 20, 12, 0)
COLUMNS = ["provider", "request_model", "response_model", "service_tier", "start_time", *COUNT_COLUMNS]


def priced(book: PriceBook, calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Calls with cost and price_confidence, through the shipped SQL."""
    schema = pa.schema([SPANS.field(name) for name in COLUMNS])
    table = pa.Table.from_pylist([{"start_time": NOVEMBER} | call for call in calls], schema=schema)
    keys = {(c["provider"], c["request_model"], c["response_model"]) for c in table.to_pylist()}
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA book")
        connection.register("incoming", book.rates(keys))
        connection.execute("CREATE TABLE book.rates AS FROM incoming")
        connection.register("fresh", table.append_column("row", pa.array(range(len(table)))))
        rows = connection.sql(f"SELECT * FROM ({cost_sql('fresh')}) ORDER BY row").to_arrow_table().to_pylist()
    assert len(rows) == len(calls), "a call found more than one rate"
    return rows


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook.load()


def inputs(total: int, read: int = 0, write: int = 0, write_1h: int = 0, out: int = 10_000) -> dict[str, int]:
    return usage(
        uncached_input=total - read - write - write_1h, cache_read=read, cache_write=write, cache_write_1h=write_1h,
        text_output=out,
    )  # fmt: skip


GOLDEN = [  # provider, model, tier, usage, USD: hand-checked against the list rates
    ("openai", "gpt-5", None, inputs(100_000, 80_000), 0.135),
    ("openai", "gpt-5", "flex", inputs(100_000, 80_000), 0.0675),
    ("openai", "gpt-5", "priority", inputs(100_000, 80_000), 0.27),
    ("openai", "gpt-5.1", None, inputs(100_000, 80_000), 0.135),
    ("openai", "gpt-5.2", None, inputs(100_000, 80_000), 0.189),
    ("openai", "gpt-5.4", None, inputs(100_000, 80_000), 0.22),
    ("openai", "gpt-5.5", None, inputs(100_000, 80_000), 0.44),
    ("openai", "gpt-5.6", None, inputs(100_000, 80_000), 0.312),
    ("openai", "gpt-5.5", None, inputs(300_000, 100_000), 2.55),
    ("anthropic", "claude-sonnet-4-5", None, inputs(100_000, 60_000, 30_000), 0.3105),
    ("anthropic", "claude-sonnet-4-5", None, inputs(100_000, write_1h=30_000, out=0), 0.39),
    ("anthropic", "claude-haiku-4-5", None, inputs(100_000, 60_000, 30_000), 0.1035),
    ("anthropic", "claude-opus-4-5", None, inputs(100_000, 60_000, 30_000), 0.5175),
    ("anthropic", "claude-opus-4-1", None, inputs(100_000, 60_000, 30_000), 1.5525),
    ("gemini", "gemini-2.5-pro", None, inputs(250_000, 100_000), 0.55),
    ("gemini", "gemini-3-pro-preview", None, inputs(100_000, 60_000), 0.212),
    ("gemini", "gemini-3.1-pro-preview", None, inputs(250_000, 100_000), 0.82),
    ("gemini", "gemini-3-flash-preview", None, inputs(100_000, 60_000), 0.053),
]


@pytest.mark.parametrize(("provider", "model", "tier", "tokens", "usd"), GOLDEN)
def test_golden_costs(book: PriceBook, provider: str, model: str, tier: str | None, tokens: Any, usd: float) -> None:
    """The hand-checked cases come out to 1e-9."""
    call = {"provider": provider, "request_model": model, "service_tier": tier} | tokens
    (row,) = priced(book, [call])
    assert row["cost"] == pytest.approx(usd, abs=1e-9)
    assert row["price_confidence"] == "exact"


def test_prices_follow_their_date(book: PriceBook) -> None:
    """o3 costs 50 USD for a million tokens each way before June 2025, and 10 after."""
    tokens = usage(uncached_input=1_000_000, text_output=1_000_000)
    days = (dt.datetime(2025, 5, 1), dt.datetime(2025, 7, 1))
    rows = priced(book, [{"provider": "openai", "request_model": "o3", "start_time": day} | tokens for day in days])
    assert [row["cost"] for row in rows] == [50.0, 10.0]


def test_long_context_starts_above_its_threshold(book: PriceBook) -> None:
    """A tier's start is exclusive, and crossing it reprices every token of the call."""
    calls = [{"provider": "google", "request_model": "gemini-2.5-pro"} | inputs(n, out=0) for n in (200_000, 200_001)]
    assert [row["cost"] for row in priced(book, calls)] == pytest.approx([0.25, 0.5000025], abs=1e-9)


def test_price_follows_the_hour_of_the_day(book: PriceBook) -> None:
    """deepseek-chat is dearer from 00:30 to 16:30 UTC; the end belongs to the cheap hours."""
    times = [dt.datetime(2026, 11, 20, hour, minute) for hour, minute in ((0, 29), (0, 30), (16, 29), (16, 30))]
    calls = [{"provider": "deepseek", "request_model": "deepseek-chat", "start_time": t} | inputs(1_000_000, out=0)
             for t in times]  # fmt: skip
    night, day, still_day, night_again = (row["cost"] for row in priced(book, calls))
    assert night < day == still_day > night_again == night


@pytest.mark.parametrize(
    ("tier", "start", "confidence", "usd"),
    [
        ("batch", NOVEMBER, "exact", 0.1125),
        ("batch", dt.datetime(2026, 9, 1), "assumed", 0.225),
        ("turbo", NOVEMBER, "assumed", 0.225),
        ("Default", NOVEMBER, "exact", 0.225),
    ],
)
def test_unknown_tier_is_priced_as_standard_and_says_so(
    book: PriceBook, tier: str, start: dt.datetime, confidence: str, usd: float
) -> None:
    """A tier that the book does not know at that time costs the standard rate, with the confidence `assumed`."""
    call = {"provider": "openai", "request_model": "gpt-5", "service_tier": tier, "start_time": start}
    (row,) = priced(book, [call | inputs(100_000, out=10_000)])
    assert (row["price_confidence"], row["cost"]) == (confidence, pytest.approx(usd, abs=1e-9))


@pytest.mark.parametrize(
    ("provider", "request_model", "response_model", "price_key", "confidence"),
    [
        ("openai", "gpt-5", "gpt-5-2025-08-07", "openai/gpt-5", "exact"),
        ("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", None,
         "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0", "exact"),
        ("gcp.gemini", "models/gemini-2.5-pro", None, "google/gemini-2.5-pro", "assumed"),
        (None, "claude-haiku-4-5", None, "anthropic/claude-haiku-4-5", "assumed"),
        ("azure", "team-deployment-7", "gpt-4o-2024-08-06", "openai/gpt-4o", "fallback"),
        ("openrouter", "anthropic/claude-haiku-4-5", None, "anthropic/claude-haiku-4-5", "fallback"),
        ("openai", "claude-sonnet-4-5", None, "anthropic/claude-sonnet-4-5", "fallback"),
        ("openai", "gpt-4o-mini-2099-01-01", None, "openai/gpt-4o-mini", "assumed"),
        ("ollama", "llama3.2:3b", None, "ollama/*", "exact"),
        ("vllm", "gpt-4o", None, None, "unpriced"),
        ("azure", "team-deployment-7", None, None, "unpriced"),
        (None, None, None, None, "unpriced"),
    ],
)  # fmt: skip
def test_names_find_their_model(
    book: PriceBook, provider: str | None, request_model: str | None, response_model: str | None,
    price_key: str | None, confidence: str,
) -> None:  # fmt: skip
    """Regions, dates, paths, gateways and deployments find the model that was billed, or nothing; never a guess."""
    call = {"provider": provider, "request_model": request_model, "response_model": response_model}
    (row,) = priced(book, [call | usage(uncached_input=1000, text_output=10)])
    assert (row["price_key"], row["price_confidence"]) == (price_key, confidence)
    assert (row["cost"] is None) == (confidence == "unpriced")


def test_unknown_is_null_and_free_is_zero(book: PriceBook) -> None:
    """A call without usage has neither cost nor confidence, a local model costs 0, an entry without a price none."""
    calls: list[dict[str, Any]] = [
        {"provider": "openai", "request_model": "gpt-5"},
        {"provider": "ollama", "request_model": "qwen3"} | usage(uncached_input=10, text_output=10),
        {"provider": "github-copilot", "request_model": "gpt-4o"} | usage(uncached_input=10, text_output=10),
        {"provider": "openai", "request_model": "gpt-5", "input_tokens": 1000, "output_tokens": 100},
        {"provider": "openai", "request_model": "gpt-5", "output_tokens": 100},
    ]
    rows = priced(book, calls)
    assert [row["cost"] for row in rows[:3]] == [None, 0.0, None]
    assert [row["price_confidence"] for row in rows[:3]] == [None, "exact", "unpriced"]
    assert [row["cost"] for row in rows[3:]] == pytest.approx([0.00225, 0.001], abs=1e-12)


def test_unpriced_names_get_a_suggestion(book: PriceBook) -> None:
    """The inbox of unpriced models offers the nearest name that has a price."""
    (row,) = book.models([("openai", "my-gpt5", None)]).to_pylist()
    assert (row["confidence"], row["suggestion"]) == ("unpriced", "openai/gpt-5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    provider: str
    model_pattern: str
    bucket: str
    price: Decimal | None
    unit: str = "1M tokens"
    currency: str = "USD"
    valid_from: dt.datetime = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    known_from: dt.datetime | None = None
    source: str = "contract"
    layer: str = "override"
    tier: str = "*"
    above_tokens: int = 0


def test_overrides_win_by_how_specific_they_are() -> None:
    """A stated provider beats `*`, a name beats a pattern, longer beats shorter, later beats earlier (TB-039..TB-045);
    buckets without an override keep the book's rate."""
    book = PriceBook.load([
        Stated(provider="*", model_pattern="*", bucket="output", price=Decimal(9)),
        Stated(provider="openai", model_pattern="gpt-*", bucket="input", price=Decimal(3)),
        Stated(provider="openai", model_pattern="gpt-5*", bucket="input", price=Decimal(2)),
        Stated(provider="openai", model_pattern="gpt-5", bucket="input", price=Decimal(1)),
        Stated(provider="openai", model_pattern="gpt-5", bucket="input", price=Decimal(4),
               valid_from=dt.datetime(2026, 11, 10, tzinfo=dt.UTC)),
    ])  # fmt: skip
    tokens = usage(uncached_input=1_000_000, cache_read=1_000_000)
    early = dt.datetime(2026, 11, 9)
    calls = [
        {"provider": "openai", "request_model": "gpt-5", "start_time": early} | tokens,
        {"provider": "openai", "request_model": "gpt-5"} | tokens,
        {"provider": "openai", "request_model": "gpt-5-mini"} | usage(uncached_input=1_000_000),
        {"provider": "openai", "request_model": "gpt-4o"} | usage(uncached_input=1_000_000),
        {"provider": "acme", "request_model": "house-model"} | usage(text_output=1_000_000),
    ]
    rows = priced(book, calls)
    assert [row["cost"] for row in rows] == pytest.approx([1.125, 4.125, 2.0, 3.0, 9.0], abs=1e-9)
    assert rows[4]["price_confidence"] == "exact"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unit": "1K tokens", "price": Decimal("2.5")}, "per-thousand column"),
        ({"currency": "EUR"}, "exchange rate of EUR"),
        ({"bucket": "smells"}, "unknown bucket"),
        ({"unit": "request"}, "per 'request'"),
    ],
)
def test_implausible_prices_are_refused(change: dict[str, Any], words: str) -> None:
    """A per-million price in a per-thousand column (a thousandfold error) stays out, as do other units and moneys."""
    stated = {"provider": "openai", "model_pattern": "gpt-5", "bucket": "input", "price": Decimal(1)} | change
    with pytest.raises(PriceRefused, match=words):
        PriceBook.load([Stated(**stated)])


def test_the_book_is_flat_and_dated(book: PriceBook) -> None:
    """Every price of the source is a row with unit, period, tier and context; free local models are rows with 0."""
    rows = book.rows().to_pylist()
    assert len(rows) > 7_900
    o3 = {(r["valid_from"], r["price"]) for r in rows if r["price_key"] == "openai/o3" and r["bucket"] == "text_output"
          and r["context_key"] is None}  # fmt: skip
    assert o3 == {(None, 40e-6), (dt.datetime(2025, 6, 10), 8e-6)}
    assert {r["price"] for r in rows if r["provider"] == "ollama"} == {0.0}
    assert all(r["price"] < 0.002 for r in rows if r["unit"] == "token")


MODELS = [(provider, model) for provider in get_snapshot().providers for model in provider.models]
CONTEXTS: dict[str | None, dict[str, str]] = {
    None: {}, "batch": {"processing": "batch"}, "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"}, "fast": {"service_tier": "fast", "speed": "fast"},
    "default": {"service_tier": "default"},
}  # fmt: skip


def _source_usage(tokens: dict[str, int], info: ModelInfo, at: dt.datetime, context: dict[str, str]) -> Usage:
    """Our disjoint buckets as the source counts them: totals that include their parts. It wants the parts stated that
    its price list distinguishes (such as cached audio), which are 0 here."""
    get = {name.removesuffix("_tokens"): value for name, value in tokens.items()}
    values = {
        "input_tokens": get["input"], "output_tokens": get["output"], "cache_read_tokens": get["cache_read"],
        "cache_write_tokens": get["cache_write"] + get["cache_write_1h"],
        "cache_write_1h_tokens": get["cache_write_1h"], "input_audio_tokens": get["audio_input"],
        "input_image_tokens": get["image_input"], "output_reasoning_tokens": get["reasoning"],
        "output_audio_tokens": get["audio_output"], "web_searches": get["web_searches"],
    }  # fmt: skip
    priced_units = {unit_of(k).usage_key for k, v in info.get_prices(at, context).__dict__.items() if v is not None}
    return Usage(**dict.fromkeys(priced_units - {"requests"}, 0) | values)


def _random_tokens(rng: random.Random) -> dict[str, int]:
    def some(most: int) -> int:
        return rng.choice([0, rng.randrange(most), rng.randrange(100)])

    return usage(
        uncached_input=some(400_000), cache_read=some(300_000), cache_write=some(100_000), cache_write_1h=some(100_000),
        audio_input=some(5_000), image_input=some(5_000), text_output=some(50_000), reasoning=some(50_000),
        audio_output=some(5_000),
    ) | {"web_searches": rng.choice([0, rng.randrange(20)])}  # fmt: skip


def _expected(provider: Provider, info: ModelInfo, tokens: dict[str, int], tier: str | None, at: dt.datetime) -> float:
    context = CONTEXTS[tier]
    found = info.calc_price(
        _source_usage(tokens, info, at, context), provider, genai_request_timestamp=at, price_context=context
    )
    return float(found["total_price"] if isinstance(found, dict) else found.total_price)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 41))])
def test_sql_agrees_with_the_source_on_every_model(book: PriceBook, seed: int) -> None:
    """For every model that has a token price, random usage, tier and time cost the same in SQL and in genai-prices."""
    rng = random.Random(seed)
    calls, expected = [], []
    for provider, info in MODELS:
        match = book.resolve(provider.id, info.id)
        if match is None or match.info is not info or match.price_key != f"{provider.id}/{info.id}":
            continue  # the source itself means another model by this name
        at = dt.datetime(2024, 1, 1) + dt.timedelta(minutes=rng.randrange(2 * 365 * 24 * 60 + 500_000))
        tier, tokens = rng.choice(list(CONTEXTS)), _random_tokens(rng)
        calls.append(
            {"provider": provider.id, "request_model": info.id, "service_tier": tier, "start_time": at} | tokens
        )
        expected.append(_expected(provider, info, tokens, tier, at))
    rows = priced(book, calls)
    both = [
        (row["cost"], cost, row["price_key"])
        for row, cost in zip(rows, expected, strict=True)
        if row["cost"] is not None
    ]
    assert len(both) > 2_000
    assert [row for row in both if abs(row[0] - row[1]) > 1e-9 * max(1.0, row[1])] == []
    unpriced = [(cost, call) for row, cost, call in zip(rows, expected, calls, strict=True) if row["cost"] is None]
    assert [call for cost, call in unpriced if cost] == []


_DRAWN = (
    st.sampled_from(MODELS), st.randoms(use_true_random=False), st.sampled_from(list(CONTEXTS)),
    st.datetimes(dt.datetime(2023, 1, 1), dt.datetime(2027, 6, 1)),
)  # fmt: skip


@given(*_DRAWN)
@settings(max_examples=40, deadline=None)
def test_sql_agrees_with_calc_price(
    book: PriceBook, model: tuple[Provider, ModelInfo], rng: random.Random, tier: str | None, at: dt.datetime
) -> None:
    """The public `calc_price` of the source gives the same, whichever of its models a name finds."""
    _agrees(book, *model, _random_tokens(rng), tier, at)


@pytest.mark.slow
@given(*_DRAWN)
@settings(max_examples=500, deadline=None)
def test_sql_agrees_with_calc_price_at_length(
    book: PriceBook, model: tuple[Provider, ModelInfo], rng: random.Random, tier: str | None, at: dt.datetime
) -> None:
    """The same for many more of its models, times and usages."""
    _agrees(book, *model, _random_tokens(rng), tier, at)


def _agrees(
    book: PriceBook, provider: Provider, info: ModelInfo, tokens: dict[str, int], tier: str | None, at: dt.datetime
) -> None:
    """Where both have a price. They rightly differ where the source finds none by a name that it lists itself (we take
    the model's price of another provider), and for tiers of a model that a provider only resells (docs/prices.md)."""
    (row,) = priced(
        book, [{"provider": provider.id, "request_model": info.id, "service_tier": tier, "start_time": at} | tokens]
    )
    if row["cost"] is None:
        return
    match = book.resolve(provider.id, info.id)
    assert match is not None
    assert match.info is not None
    context = CONTEXTS[tier] if match.own else {}
    try:
        found = calc_price(
            _source_usage(tokens, match.info, at, context), info.id, provider_id=provider.id,
            genai_request_timestamp=at, price_context=context,
        )  # fmt: skip
    except LookupError:
        return
    assert row["cost"] == pytest.approx(float(found.total_price), abs=1e-9, rel=1e-9)
