"""A model's prices as rates per bucket: one row per tier, period, time of day and context length, ready to join.

Which price counts at a time is genai-prices' own decision, asked once per segment in which it cannot change. A bucket
without a price of its own is billed as the nearest wider one (cache reads as input, reasoning as output).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)
from genai_prices.units import UnitDef, _get_registry

from spanfold.analytics.price_match import Match
from spanfold.analytics.price_overrides import ALWAYS, NEVER, PRICE_KEYS, Exchange, Override, best
from spanfold.analytics.price_rows import BUCKETS, DAY_US, TIERS

NO_LIMIT = 2**62
_INPUT, _OUTPUT = {"family": "tokens", "direction": "input"}, {"family": "tokens", "direction": "output"}
_DIMENSIONS: dict[str, dict[str, str]] = {
    "uncached_input": _INPUT | {"modality": "text"},
    "cache_read": _INPUT | {"modality": "text", "token_type": "cache_read"},
    "cache_write": _INPUT | {"modality": "text", "token_type": "cache_write", "cache_ttl": "5m"},
    "cache_write_1h": _INPUT | {"modality": "text", "token_type": "cache_write", "cache_ttl": "1h"},
    "audio_input": _INPUT | {"modality": "audio"},
    "image_input": _INPUT | {"modality": "image"},
    "text_output": _OUTPUT | {"modality": "text"},
    "reasoning": _OUTPUT | {"modality": "text", "token_type": "reasoning"},
    "audio_output": _OUTPUT | {"modality": "audio"},
    "request": {"family": "requests"},
    "web_search": {"family": "tool_calls", "tool_type": "web_search"},
}
_CONTEXTS: dict[str, dict[str, str]] = {  # our tier -> genai-prices' request context
    "standard": {}, "other": {}, "default": {"service_tier": "default"}, "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"}, "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}  # fmt: skip

_LAYER_WORDS = {"imported": "imported", "negotiated": "negotiated", "override": "overridden"}

Price: TypeAlias = Decimal | TieredPrices


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time in which a name means one model."""

    start: dt.datetime
    end: dt.datetime


ALL_TIME = Window(ALWAYS, NEVER)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of days and of the day in which no price changes."""

    start: dt.datetime
    end: dt.datetime
    day_from_us: int
    day_to_us: int

    @property
    def sample(self) -> dt.datetime:
        start = max(self.start, dt.datetime(1970, 1, 1))
        return start.replace(hour=0, minute=0, second=0, microsecond=0) + dt.timedelta(microseconds=self.day_from_us)


def rate_rows(
    match: Match, overrides: Sequence[Override], exchange: Exchange, window: Window = ALL_TIME
) -> Iterator[dict[str, Any]]:
    """Rows of `RATES` for one model, without the names it is called by. None where no token and no request of it has a
    price: its cost is unknown, not 0."""
    for segment in _segments(match.info, overrides, exchange, window):
        for tier in TIERS:
            yield from _tier_rows(match, tier, segment, best(overrides, segment.start, tier), exchange)


def _tier_rows(
    match: Match, tier: str, segment: Segment, stated: Mapping[str, Mapping[int, Override]], exchange: Exchange
) -> Iterator[dict[str, Any]]:
    prices, fits = _prices(match, tier, segment.sample)
    prices = prices | {key: _stated_price(key, parts, prices.get(key), segment.start, exchange)
                       for key, parts in stated.items()}  # fmt: skip
    chosen = {bucket: _nearest(bucket, prices) for bucket in BUCKETS}
    if not any(found for bucket, found in chosen.items() if bucket != "web_search"):
        return
    named = any(part.tier == tier for parts in stated.values() for part in parts.values())
    confidence = match.confidence if fits or named or match.confidence == "fallback" else "assumed"
    starts = sorted({t.start for found in chosen.values() if found and isinstance(found[1], TieredPrices)
                     for t in found[1].tiers})  # fmt: skip
    words = _stated_words(stated, segment.start, exchange)
    for above, up_to in zip([-1, *starts], [*starts, NO_LIMIT], strict=True):
        rates = {bucket: _rate(found, up_to) for bucket, found in chosen.items()}
        yield {
            "tier": tier, "price_key": match.price_key, "confidence": confidence, "valid_from": segment.start,
            "valid_to": segment.end, "day_from_us": segment.day_from_us, "day_to_us": segment.day_to_us,
            "above_tokens": above, "up_to_tokens": up_to, "rate_id": _describe(match, tier, segment, above) + words,
        } | rates  # fmt: skip


def _stated_price(
    key: str, parts: Mapping[int, Override], below: Price | None, at: dt.datetime, exchange: Exchange
) -> Price:
    """The stated price of one unit in USD, as the source would give it; its base comes from the layer below if only
    long contexts are stated."""
    per = unit_of(key).per
    prices = {}
    for above, part in parts.items():
        rate = exchange.at(part.currency, at)
        prices[above] = (part.price or Decimal(0)) * per * (rate[1] if rate else 1)
    base = prices.pop(0, None)
    if base is None:
        base = below.base if isinstance(below, TieredPrices) else below if below is not None else Decimal(0)
    return TieredPrices(base, [Tier(above, price) for above, price in prices.items()]) if prices else base


def _stated_words(stated: Mapping[str, Mapping[int, Override]], at: dt.datetime, exchange: Exchange) -> str:
    """Which layers changed these rates, and at which exchange rate of which day."""
    parts = [part for parts in stated.values() for part in parts.values()]
    words = sorted({_LAYER_WORDS[part.layer] for part in parts})
    for currency in sorted({part.currency for part in parts}):
        if rate := exchange.at(currency, at):
            words.append(f"1 {currency} = {rate[1]} USD of {rate[0].date()}")
    return "".join(f", {word}" for word in words)


def _prices(match: Match, tier: str, at: dt.datetime) -> tuple[dict[str, Price], bool]:
    """(price by unit, does the book know this tier at this time). Without a price of the tier the standard one counts:
    genai-prices falls back silently, here the confidence says so."""
    if match.info is None:
        free = ("input_mtok", "output_mtok") if match.model == "*" else ()
        return dict.fromkeys(free, Decimal(0)), tier in ("standard", "default")
    standard = _stated(match.info.get_prices(at))
    if not standard and match.model.endswith(":free"):
        standard = {"input_mtok": Decimal(0), "output_mtok": Decimal(0)}
    if tier in ("standard", "default"):
        return standard, True
    if tier == "other" or not match.own:
        return standard, False
    special = _stated(match.info.get_prices(at, _CONTEXTS[tier]))
    return (special, True) if special != standard else (standard, False)


def listed_price(match: Match, bucket: str, at: dt.datetime) -> Decimal | None:
    """USD per token of the built-in list for a standard call at a time; None where it has no price of its own."""
    if match.info is None:
        return None
    price = _stated(match.info.get_prices(at)).get(PRICE_KEYS[bucket])
    if price is None:
        return None
    base = price.base if isinstance(price, TieredPrices) else price
    return base / Decimal(unit_of(PRICE_KEYS[bucket]).per)


def _stated(price: ModelPrice) -> dict[str, Price]:
    return {key: value for key, value in price.__dict__.items() if value is not None}


def _nearest(bucket: str, prices: Mapping[str, Price]) -> tuple[UnitDef, Price] | None:
    """The most specific priced unit that covers this bucket."""
    wanted = _DIMENSIONS[bucket].items()
    found = [unit for key in prices if (unit := unit_of(key)).dimensions.items() <= wanted]
    if not found:
        return None
    unit = max(found, key=lambda u: len(u.dimensions))
    return unit, prices[unit.price_key]


def _rate(found: tuple[UnitDef, Price] | None, tokens: int) -> float:
    """USD per one token at a context length (the cliff rule: crossing a start reprices all tokens; it is exclusive)."""
    if found is None:
        return 0.0
    unit, price = found
    if isinstance(price, TieredPrices):
        price = next((t.price for t in reversed(price.tiers) if tokens > t.start), price.base)
    return float(price / unit.per)


def _segments(
    info: ModelInfo | None, overrides: Sequence[Override], exchange: Exchange, window: Window
) -> Iterator[Segment]:
    days, times = set(), {0}
    for constraint in _constraints(info):
        if isinstance(constraint, StartDateConstraint):
            days.add(dt.datetime.combine(constraint.start_date, dt.time()))
        elif isinstance(constraint, TimeOfDateConstraint):
            times |= {_day_us(constraint.start_time), _day_us(constraint.end_time)}
    days |= {override.valid_from for override in overrides}
    days |= {day for currency in {o.currency for o in overrides} for day in exchange.days(currency)}
    starts = [window.start, *sorted(day for day in days if window.start < day < window.end)]
    cuts = sorted(times)
    for start, end in zip(starts, [*starts[1:], window.end], strict=True):
        for low, high in zip(cuts, [*cuts[1:], DAY_US], strict=True):
            yield Segment(start, end, low, high)


def _constraints(info: ModelInfo | None) -> Iterator[StartDateConstraint | TimeOfDateConstraint | None]:
    if info is None:
        return
    if not isinstance(info.prices, ModelPrice):
        yield from (conditional.constraint for conditional in info.prices)
    yield from (variant.constraint for variant in info.price_variants or ())


def _day_us(time: dt.time) -> int:
    """Microseconds after midnight UTC (naive times are UTC)."""
    if time.tzinfo is not None:
        time = dt.datetime.combine(dt.date(1970, 1, 2), time).astimezone(dt.UTC).time()
    return ((time.hour * 60 + time.minute) * 60 + time.second) * 1_000_000 + time.microsecond


def _describe(match: Match, tier: str, segment: Segment, above: int) -> str:
    words = [match.price_key, tier]
    if segment.start > ALWAYS:
        words.append(f"from {segment.start.date()}")
    if (segment.day_from_us, segment.day_to_us) != (0, DAY_US):
        words.append(f"at {segment.day_from_us // 3_600_000_000:02d}-{segment.day_to_us // 3_600_000_000:02d} h UTC")
    if above >= 0:
        words.append(f"above {above} input tokens")
    return ", ".join(words)


def conditional_prices(info: ModelInfo) -> list[ConditionalPrice]:
    """A model's prices as dated ones."""
    return [ConditionalPrice(prices=info.prices)] if isinstance(info.prices, ModelPrice) else list(info.prices)


def unit_of(price_key: str) -> UnitDef:
    """The unit of the source that a price is for."""
    return _get_registry().unit_for_price_key(price_key)
