"""Prices that the user states over the book: checked, made per token, chosen by how specific their pattern is.

Specificity (TB-039..TB-045): a stated provider before `*`, then a name without wildcards before a pattern, then the
pattern with more literal characters, then the later `valid_from`, then the later `known_from`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Protocol

from spanfold.analytics.errors import PriceRefused

ALWAYS = dt.datetime(1, 1, 1)
MOST_PER_TOKEN = Decimal("0.002")  # USD: $2,000 per million; a per-million price entered per thousand is above it
PRICE_KEYS = {  # bucket as stated -> unit of the book it prices
    "input": "input_mtok", "uncached_input": "input_mtok", "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok", "cache_write_1h": "cache_write_1h_mtok", "audio_input": "input_audio_mtok",
    "image_input": "input_image_mtok", "output": "output_mtok", "text_output": "output_mtok",
    "reasoning": "output_reasoning_mtok", "audio_output": "output_audio_mtok", "request": "requests_kcount",
}  # fmt: skip
UNITS = {  # unit as stated -> how many tokens (or requests) a price is for
    "token": 1, "1 token": 1, "1k tokens": 1_000, "1m tokens": 1_000_000, "million tokens": 1_000_000,
    "request": 1, "1 request": 1, "1k requests": 1_000,
}  # fmt: skip


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


@dataclass(frozen=True, slots=True)
class Override:
    """One stated price, per single token or request, times without zone."""

    provider: str
    pattern: str
    key: str  # unit of the book
    price: Decimal  # USD for one token or request
    valid_from: dt.datetime
    known_from: dt.datetime | None
    source: str

    def fits(self, provider: str, model: str) -> bool:
        return self.provider in ("*", provider) and fnmatchcase(model, self.pattern)

    @property
    def rank(self) -> tuple[bool, bool, int, dt.datetime, dt.datetime]:
        literal = sum(character not in "*?[]" for character in self.pattern)
        return (
            self.provider != "*", literal == len(self.pattern), literal, self.valid_from, self.known_from or ALWAYS,
        )  # fmt: skip


def read(stated: Iterable[Stated]) -> list[Override]:
    """Raises PriceRefused, naming the row, for what is not plausible."""
    return [_read(one) for one in stated if one.price is not None]


def _read(one: Stated) -> Override:
    name = f"{one.provider}/{one.model_pattern} {one.bucket}"
    unit, bucket = one.unit.strip().lower(), one.bucket.strip().lower().removesuffix("_tokens")
    if bucket not in PRICE_KEYS:
        raise PriceRefused(f"{name}: unknown bucket; known are {', '.join(PRICE_KEYS)}")
    if unit not in UNITS or ("request" in unit) != (bucket == "request"):
        raise PriceRefused(f"{name}: a price of {bucket} is not stated per {one.unit!r}")
    if one.currency != "USD":
        raise PriceRefused(f"{name}: prices are kept in USD, not {one.currency}")
    price = (one.price or Decimal(0)) / UNITS[unit]
    if bucket != "request" and price > MOST_PER_TOKEN:
        raise PriceRefused(
            f"{name}: {one.price} USD per {one.unit} is {price * 1_000_000:f} USD per million tokens, more than any "
            "model costs: is it a price per million in a per-thousand column?"
        )
    return Override(
        one.provider.lower(), one.model_pattern.lower(), PRICE_KEYS[bucket], price, _naive(one.valid_from),
        _naive(one.known_from) if one.known_from else None, one.source,
    )  # fmt: skip


def best(overrides: Iterable[Override], at: dt.datetime) -> dict[str, Override]:
    """The override that counts for each unit at a time, of those that fit a model."""
    chosen: dict[str, Override] = {}
    for override in sorted(overrides, key=lambda o: o.rank):
        if override.valid_from <= at:
            chosen[override.key] = override
    return chosen


def _naive(time: dt.datetime) -> dt.datetime:
    return time.astimezone(dt.UTC).replace(tzinfo=None) if time.tzinfo else time
