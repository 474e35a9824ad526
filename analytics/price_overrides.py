"""Prices that the user states over the book: checked, made per token, chosen by layer and how specific they are.

Which price counts (TB-039..TB-045), the first difference decides: the layer (imported < negotiated < override), a
stated provider before `*`, a name without wildcards before a pattern, the pattern with more literal characters, fewer
wildcards, a stated tier before every tier, the later `valid_from`, the later `known_from`.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Protocol

from spanfold.analytics.errors import PriceRefused

ALWAYS, NEVER = dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)
MOST_PER_TOKEN = Decimal("0.002")  # USD: $2,000 per million; a per-million price entered per thousand is above it
LAYERS = ("imported", "negotiated", "override")
STATED_TIERS = ("*", "standard", "batch", "flex", "priority", "fast")
PRICE_KEYS = {  # bucket as stated -> unit of the book it prices
    "input": "input_mtok", "uncached_input": "input_mtok", "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok", "cache_write_1h": "cache_write_1h_mtok", "audio_input": "input_audio_mtok",
    "image_input": "input_image_mtok", "output": "output_mtok", "text_output": "output_mtok",
    "reasoning": "output_reasoning_mtok", "audio_output": "output_audio_mtok", "request": "requests_kcount",
    "web_search": "web_searches_kcount",
}  # fmt: skip
UNITS = {  # unit as stated -> how many tokens (or requests, searches) a price is for
    "token": 1, "1 token": 1, "1k tokens": 1_000, "1m tokens": 1_000_000, "million tokens": 1_000_000,
    "request": 1, "1 request": 1, "1k requests": 1_000, "search": 1, "1 search": 1, "1k searches": 1_000,
}  # fmt: skip
_WILD = "*?[]"


class Stated(Protocol):
    """A price override as the control plane keeps it (state/price_overrides.py)."""

    @property
    def provider(self) -> str: ...
    @property
    def model_pattern(self) -> str: ...
    @property
    def bucket(self) -> str: ...
    @property
    def price(self) -> Decimal | None: ...
    @property
    def unit(self) -> str: ...
    @property
    def currency(self) -> str: ...
    @property
    def valid_from(self) -> dt.datetime: ...
    @property
    def known_from(self) -> dt.datetime | None: ...
    @property
    def source(self) -> str: ...
    @property
    def layer(self) -> str: ...
    @property
    def tier(self) -> str: ...
    @property
    def above_tokens(self) -> int: ...


class StatedRate(Protocol):
    """An exchange rate as the control plane keeps it."""

    @property
    def currency(self) -> str: ...
    @property
    def day(self) -> dt.date: ...
    @property
    def usd(self) -> Decimal: ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one unit of a currency is worth in USD, from each stated day on. Before the first day its rate counts."""

    rates: Mapping[str, Sequence[tuple[dt.datetime, Decimal]]] = field(default_factory=dict)

    @staticmethod
    def of(stated: Iterable[StatedRate]) -> Exchange:
        rates: dict[str, list[tuple[dt.datetime, Decimal]]] = defaultdict(list)
        for rate in stated:
            rates[rate.currency].append((dt.datetime.combine(rate.day, dt.time()), rate.usd))
        return Exchange({currency: sorted(days) for currency, days in rates.items()})

    def at(self, currency: str, moment: dt.datetime) -> tuple[dt.datetime, Decimal] | None:
        """(day of the rate, USD for one unit) at a time; None for USD. Raises PriceRefused for an unknown currency."""
        if currency == "USD":
            return None
        days = self.rates.get(currency)
        if not days:
            raise PriceRefused(f"no exchange rate of {currency} is known: state one with `spanfold prices rate`")
        return next((rate for rate in reversed(days) if rate[0] <= moment), days[0])

    def days(self, currency: str) -> list[dt.datetime]:
        return [day for day, _ in self.rates.get(currency, ())]


@dataclass(frozen=True, slots=True)
class Override:
    """One stated price, per single token or request in its currency, times without zone. None takes it back."""

    provider: str
    pattern: str
    key: str  # unit of the book
    price: Decimal | None
    valid_from: dt.datetime
    known_from: dt.datetime | None
    source: str
    currency: str = "USD"
    layer: str = "override"
    tier: str = "*"
    above: int = 0  # input tokens above which it counts

    def fits(self, provider: str, model: str) -> bool:
        return self.provider in ("*", provider) and fnmatchcase(model, self.pattern)

    @property
    def identity(self) -> tuple[object, ...]:
        """What a later known row corrects."""
        return (*self.group, self.key, self.above, self.valid_from)

    @property
    def group(self) -> tuple[str, str, str, str]:
        """Rows that state one price together: its long-context parts belong to its base."""
        return (self.layer, self.provider, self.pattern, self.tier)

    @property
    def is_exact(self) -> bool:
        return not any(character in _WILD for character in self.pattern)

    @property
    def rank(self) -> tuple[int, bool, bool, int, int, bool, dt.datetime, dt.datetime]:
        wild = sum(character in _WILD for character in self.pattern)
        return (
            LAYERS.index(self.layer), self.provider != "*", wild == 0, len(self.pattern) - wild, -wild,
            self.tier != "*", self.valid_from, self.known_from or ALWAYS,
        )  # fmt: skip

    def counts_for(self, tier: str) -> bool:
        """`standard` holds for every tier that no price list knows."""
        return self.tier in ("*", tier) or (self.tier == "standard" and tier in ("default", "other"))


class Overrides:
    """All stated prices; finds those that fit a model without looking at each."""

    def __init__(self, overrides: Iterable[Override]) -> None:
        self.all = sorted(overrides, key=lambda o: o.known_from or ALWAYS)
        self._exact: dict[str, list[Override]] = defaultdict(list)
        self._patterns: list[Override] = []
        for override in self.all:
            (self._exact[override.pattern] if override.is_exact else self._patterns).append(override)

    def __bool__(self) -> bool:
        return bool(self.all)

    def fitting(self, names: Iterable[tuple[str, str]]) -> list[Override]:
        """Those that fit one of these (provider, model) names, in the order in which they became known."""
        found: dict[int, Override] = {}
        for provider, model in dict.fromkeys(names):
            for override in (*self._exact.get(model, ()), *self._patterns):
                if override.fits(provider, model):
                    found[id(override)] = override
        return sorted(found.values(), key=lambda o: o.known_from or ALWAYS)


def counted_by(bucket: str) -> str:
    """What a price of this bucket is for."""
    return {"request": "request", "web_search": "search"}.get(bucket, "token")


def read(stated: Iterable[Stated]) -> list[Override]:
    """Raises PriceRefused, naming the row, for what is not plausible."""
    return [_read(one) for one in stated]


def _read(one: Stated) -> Override:
    name = f"{one.provider}/{one.model_pattern} {one.bucket}"
    unit, bucket = one.unit.strip().lower(), one.bucket.strip().lower().removesuffix("_tokens")
    if bucket not in PRICE_KEYS:
        raise PriceRefused(f"{name}: unknown bucket; known are {', '.join(PRICE_KEYS)}")
    if unit not in UNITS or counted_by(bucket) not in unit:
        raise PriceRefused(f"{name}: a price of {bucket} is not stated per {one.unit!r}")
    if one.tier not in STATED_TIERS:
        raise PriceRefused(f"{name}: unknown tier {one.tier!r}; known are {', '.join(STATED_TIERS)}")
    price = None if one.price is None else one.price / UNITS[unit]
    if price is not None and not (price.is_finite() and price >= 0):
        raise PriceRefused(f"{name}: {one.price} is not a price: it must be a number of at least 0")
    if counted_by(bucket) == "token" and price is not None and price > MOST_PER_TOKEN:
        raise PriceRefused(
            f"{name}: {one.price} {one.currency} per {one.unit} is {price * 1_000_000:f} per million tokens, more than "
            "any model costs: is it a price per million in a per-thousand column?"
        )
    return Override(
        one.provider.lower(), one.model_pattern.lower(), PRICE_KEYS[bucket], price, _naive(one.valid_from),
        _naive(one.known_from) if one.known_from else None, one.source, one.currency, one.layer, one.tier,
        one.above_tokens,
    )  # fmt: skip


def in_force(overrides: Iterable[Override], known_at: dt.datetime = NEVER) -> list[Override]:
    """What counts with the knowledge of a time: the latest row of each identity, unless it takes the price back."""
    latest: dict[tuple[object, ...], Override] = {}
    for override in overrides:
        if (override.known_from or ALWAYS) <= known_at:
            latest[override.identity] = override
    return [override for override in latest.values() if override.price is not None]


def best(overrides: Iterable[Override], at: dt.datetime, tier: str) -> dict[str, dict[int, Override]]:
    """The overrides that count for each unit at a time: token count above which -> override."""
    chosen: dict[str, Override] = {}
    holding = sorted((o for o in overrides if o.valid_from <= at and o.counts_for(tier)), key=lambda o: o.rank)
    for override in holding:
        chosen[override.key] = override
    parts: dict[str, dict[int, Override]] = {key: {} for key in chosen}
    for override in holding:
        if override.group == chosen[override.key].group:
            parts[override.key][override.above] = override
    return parts


def _naive(time: dt.datetime) -> dt.datetime:
    return time.astimezone(dt.UTC).replace(tzinfo=None) if time.tzinfo else time
