"""A model's prices as rates per bucket: one row per tier, period, time of day and context length, ready to join.

Which price counts at a time is genai-prices' own decision, asked once per segment in which it cannot change. A bucket
without a price of its own is billed as the nearest wider one (cache reads as input, reasoning as output).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)
from genai_prices.units import UnitDef, _get_registry

from spanfold.analytics.price_match import Match
from spanfold.analytics.price_overrides import ALWAYS, Override, best
from spanfold.analytics.price_rows import BUCKETS, DAY_US, TIERS

NEVER = dt.datetime(9999, 12, 31)
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
}
_CONTEXTS: dict[str, dict[str, str]] = {  # our tier -> genai-prices' request context
    "standard": {}, "other": {}, "default": {"service_tier": "default"}, "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"}, "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}  # fmt: skip

Price: TypeAlias = Decimal | TieredPrices


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


def rate_rows(match: Match, overrides: Sequence[Override]) -> Iterator[dict[str, Any]]:
    """Rows of `RATES` for one model, without the names it is called by. None where no token and no request of it has a
    price: its cost is unknown, not 0."""
    for segment in _segments(match.info, overrides):
        stated = best(overrides, segment.start)
        for tier in TIERS:
            yield from _tier_rows(match, tier, segment, stated)


def _tier_rows(match: Match, tier: str, segment: Segment, stated: Mapping[str, Override]) -> Iterator[dict[str, Any]]:
    prices, fits = _prices(match, tier, segment.sample)
    prices = prices | {key: override.price * unit_of(key).per for key, override in stated.items()}
    chosen = {bucket: _nearest(bucket, prices) for bucket in BUCKETS}
    if not any(chosen.values()):
        return
    confidence = match.confidence if fits or match.confidence == "fallback" else "assumed"
    starts = sorted({t.start for found in chosen.values() if found and isinstance(found[1], TieredPrices)
                     for t in found[1].tiers})  # fmt: skip
    for above, up_to in zip([-1, *starts], [*starts, NO_LIMIT], strict=True):
        rates = {bucket: _rate(found, up_to) for bucket, found in chosen.items()}
        yield {
            "tier": tier, "price_key": match.price_key, "confidence": confidence, "valid_from": segment.start,
            "valid_to": segment.end, "day_from_us": segment.day_from_us, "day_to_us": segment.day_to_us,
            "above_tokens": above, "up_to_tokens": up_to, "rate_id": _describe(match, tier, segment, above, stated),
        } | rates  # fmt: skip


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


def _segments(info: ModelInfo | None, overrides: Iterable[Override]) -> Iterator[Segment]:
    days, times = {ALWAYS}, {0}
    for constraint in _constraints(info):
        if isinstance(constraint, StartDateConstraint):
            days.add(dt.datetime.combine(constraint.start_date, dt.time()))
        elif isinstance(constraint, TimeOfDateConstraint):
            times |= {_day_us(constraint.start_time), _day_us(constraint.end_time)}
    days |= {override.valid_from for override in overrides if override.valid_from > ALWAYS}
    starts, cuts = sorted(days), sorted(times)
    for start, end in zip(starts, [*starts[1:], NEVER], strict=True):
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


def _describe(match: Match, tier: str, segment: Segment, above: int, stated: Mapping[str, Override]) -> str:
    words = [match.price_key, tier]
    if segment.start > ALWAYS:
        words.append(f"from {segment.start.date()}")
    if (segment.day_from_us, segment.day_to_us) != (0, DAY_US):
        words.append(f"at {segment.day_from_us // 3_600_000_000:02d}-{segment.day_to_us // 3_600_000_000:02d} h UTC")
    if above >= 0:
        words.append(f"above {above} input tokens")
    if stated:
        words.append("overridden")
    return ", ".join(words)


def conditional_prices(info: ModelInfo) -> list[ConditionalPrice]:
    """A model's prices as dated ones."""
    return [ConditionalPrice(prices=info.prices)] if isinstance(info.prices, ModelPrice) else list(info.prices)


def unit_of(price_key: str) -> UnitDef:
    """The unit of the source that a price is for."""
    return _get_registry().unit_for_price_key(price_key)
