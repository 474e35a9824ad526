"""Kept states of the built-in price list: written as JSON of what decides prices, read back by the installed package.

genai-prices replaces its data with every release. What was in force is kept, so that a bill can be computed as it was
believed then, and so that an upgraded package changes no cost before somebody says so.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from typing import Any, Protocol

import orjson
import zstandard
from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import ModelPrice, Provider, _providers_from_raw

from spanfold.analytics.errors import PriceRefused
from spanfold.analytics.price_match import Matcher

_NOT_KEPT = frozenset({"extractors", "description", "price_comments", "pricing_urls"})  # decide no price
_MOST = 64 << 20  # bytes of one list, unpacked


class Kept(Protocol):
    """A price list as the control plane keeps it (state/price_sources.py)."""

    @property
    def source(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def known_from(self) -> dt.datetime | None: ...


@dataclass(frozen=True, slots=True)
class Edition:
    """One state of the built-in list and since when it was the one in force."""

    source: str
    digest: str
    matcher: Matcher = dataclasses.field(compare=False)
    known_from: dt.datetime | None = None  # None: from the beginning


@cache
def installed() -> Edition:
    """The list of the installed package."""
    return Edition(f"genai-prices {version('genai-prices')}", _digest(_installed_json()), Matcher(get_snapshot()))


def installed_data() -> bytes:
    """The installed list, compressed, as `read` takes it."""
    return zstandard.compress(_installed_json(), 9)


def read(kept: Kept) -> Edition:
    """A kept list. Raises PriceRefused where the installed package does not understand it any more."""
    if kept.digest == installed().digest:
        return dataclasses.replace(installed(), source=kept.source, known_from=_naive(kept.known_from))
    return dataclasses.replace(_parsed(kept.source, kept.digest, kept.data), known_from=_naive(kept.known_from))


@cache
def _parsed(source: str, digest: str, data: bytes) -> Edition:
    try:
        raw = zstandard.decompress(data, max_output_size=_MOST)
        providers = _providers_from_raw(orjson.loads(raw))
    except (ValueError, TypeError, zstandard.ZstdError) as error:
        raise PriceRefused(
            f"the kept price list {source} cannot be read by the installed genai-prices {version('genai-prices')}: "
            "take over its list with `spanfold prices sync --yes`"
        ) from error
    return Edition(source, digest, Matcher(DataSnapshot(providers=providers, from_auto_update=False)))


@cache
def _installed_json() -> bytes:
    providers: list[Provider] = get_snapshot().providers
    return orjson.dumps(_plain(providers), option=orjson.OPT_SORT_KEYS)


def _plain(value: Any) -> Any:
    """Dataclasses of the source as the JSON that it reads itself: keys without the `_` of Python's own words."""
    if isinstance(value, ModelPrice):
        return {key: _plain(price) for key, price in value.__dict__.items() if price is not None}
    if dataclasses.is_dataclass(value):
        fields = (f.name for f in dataclasses.fields(value) if f.name not in _NOT_KEPT)
        held = {name.removesuffix("_"): getattr(value, name) for name in fields}
        return {name: _plain(item) for name, item in held.items() if item is not None}
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _digest(raw: bytes) -> str:
    return blake2b(raw, digest_size=16).hexdigest()


def _naive(time: dt.datetime | None) -> dt.datetime | None:
    return time.astimezone(dt.UTC).replace(tzinfo=None) if time is not None and time.tzinfo else time
