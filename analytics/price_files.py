"""Price files: a LiteLLM-format JSON map, or a table of rates (CSV, or a JSON list of objects).

Every price becomes one row per single token (or request). A file is taken as a whole or refused as a whole: prices that
are a thousand times too high or too low for what they say they are (per thousand, per million) are an error of the
file, and half a file would hide it.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from spanfold.analytics.errors import PriceRefused
from spanfold.analytics.price_match import LOCAL
from spanfold.analytics.price_overrides import PRICE_KEYS, counted_by

PER = {"token": 1, "1K": 1_000, "1M": 1_000_000}
_PROVIDERS = {  # LiteLLM's names of providers that the book calls otherwise
    "text-completion-openai": "openai", "azure_ai": "azure", "azure_text": "azure", "bedrock": "aws",
    "bedrock_converse": "aws", "gemini": "google", "xai": "x-ai", "together_ai": "together",
    "fireworks_ai": "fireworks", "cohere_chat": "cohere",
}  # fmt: skip
_KEYS = {  # LiteLLM's keys without what follows them
    "input_cost_per_token": "input", "output_cost_per_token": "output", "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h", "cache_creation_input_token_cost": "cache_write",
    "input_cost_per_audio_token": "audio_input", "output_cost_per_audio_token": "audio_output",
    "output_cost_per_reasoning_token": "reasoning", "input_cost_per_image_token": "image_input",
    "input_cost_per_request": "request",
}  # fmt: skip
_SEARCHES = "search_context_cost_per_query"  # by size of what is read; medium is the providers' default
_KEY = re.compile(
    rf"({'|'.join(_KEYS)})(?:_above_(\d+)k_tokens)?(?:_(batches|flex|priority))?"
)  # fmt: skip
_TIERS = {None: "standard", "batches": "batch", "flex": "flex", "priority": "priority"}
_COLUMN = re.compile(
    r"(?:price_|cost_)?(?P<bucket>\w+?)(?:_tokens?)?(?:_(?:price|cost|rate|usd))*"
    r"(?:_per_(?P<per>token|1k|1000|thousand|ktok|1m|million|mtok|request|search)(?:_tokens?)?)?(?:_(?:price|cost|usd))*"
)
_COLUMN_PER = {
    "token": "token", "1k": "1K", "1000": "1K", "thousand": "1K", "ktok": "1K", "1m": "1M", "million": "1M",
    "mtok": "1M", "request": "token", "search": "token",
}  # fmt: skip
_BUCKETS = {"prompt": "input", "completion": "output", "cached_input": "cache_read"} | {
    name: name for name in PRICE_KEYS
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePrice:
    """One price of a file, per single token or request."""

    provider: str
    model_pattern: str
    bucket: str
    price: Decimal
    currency: str = "USD"
    tier: str = "*"
    above_tokens: int = 0
    valid_from: dt.datetime | None = None  # None: the file does not say
    line: str = ""  # where it stands, for messages


@dataclass(frozen=True, slots=True)
class PriceFile:
    """What a file says. `skipped`: why entries or keys of it are not used -> how many."""

    form: str  # litellm | rates
    prices: list[FilePrice]
    skipped: Mapping[str, int] = field(default_factory=dict)


def read(raw: bytes, *, per: str | None = None) -> PriceFile:
    """The prices of a file. `per`: what a price of a table is for, where its columns do not say. Raises
    PriceRefused."""
    text = raw.decode("utf-8-sig", errors="replace").strip()
    if text.startswith(("{", "[")):
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise PriceRefused(f"the file is not whole JSON ({error}): fetch it again") from error
        if isinstance(found, dict):
            return _litellm(found)
        return _rates([row for row in found if isinstance(row, dict)], per)
    return _rates(list(csv.DictReader(io.StringIO(text))), per)


# ---- LiteLLM's map ---------------------------------------------------------------------------------------------------
def _litellm(models: Mapping[str, Any]) -> PriceFile:
    prices: list[FilePrice] = []
    skipped: Counter[str] = Counter()
    for key, entry in models.items():
        if key == "sample_spec" or not isinstance(entry, Mapping):
            continue
        found = list(_entry(key, entry, skipped))
        if any(price.price for price in found) or (found and found[0].provider in LOCAL):
            prices += found
        else:
            skipped["models without a price, or with 0"] += 1
    if not prices:
        raise PriceRefused(
            "no price in this JSON object: it needs models by name with input_cost_per_token and the like"
        )
    return PriceFile("litellm", prices, skipped)


def _entry(key: str, entry: Mapping[str, Any], skipped: Counter[str]) -> Iterator[FilePrice]:
    stated = str(entry.get("litellm_provider") or "").lower()
    provider = "google" if stated.startswith("vertex_ai") else _PROVIDERS.get(stated, stated) or "*"
    prefix, _, rest = key.partition("/")
    name = (
        rest if rest and (prefix.lower() in (stated, provider) or _PROVIDERS.get(prefix.lower()) == provider) else key
    )
    for field_name, value in entry.items():
        if field_name == _SEARCHES and isinstance(value, Mapping):
            search = _number(value.get("search_context_size_medium"))
            if search is not None:
                yield FilePrice(provider=provider, model_pattern=name.lower(), bucket="web_search", price=search,
                                line=f"model {key}")  # fmt: skip
            continue
        match = _KEY.fullmatch(field_name)
        if match is None:
            if "cost" in field_name and value:
                skipped[f"key {field_name}"] += 1
            continue
        price = _number(value)
        if price is None:
            continue
        yield FilePrice(
            provider=provider, model_pattern=name.lower(), bucket=_KEYS[match[1]], price=price, tier=_TIERS[match[3]],
            above_tokens=int(match[2] or 0) * 1000, line=f"model {key}",
        )  # fmt: skip


# ---- tables of rates -------------------------------------------------------------------------------------------------
def _rates(rows: Sequence[Mapping[str, Any]], per: str | None) -> PriceFile:
    if not rows:
        raise PriceRefused("no row in this file: it needs a heading with provider, model and price columns")
    skipped: Counter[str] = Counter()
    prices = [price for number, row in enumerate(rows, 2) for price in _row(number, row, per, skipped)]
    if not prices:
        raise PriceRefused(
            "no price column in this file: name them such as input_per_1m, output_per_1m, cache_read_per_1m"
        )
    return PriceFile("rates", prices, skipped)


def _row(number: int, row: Mapping[str, Any], per: str | None, skipped: Counter[str]) -> Iterator[FilePrice]:
    held = {str(key or "").strip().lower().replace("-", "_").replace(" ", "_"): value for key, value in row.items()}
    line = f"row {number}"
    model = _first(held, "model_pattern", "model", "model_name")
    if not model:
        raise PriceRefused(f"{line}: no model; the heading needs a column model or model_pattern")
    about: dict[str, Any] = {
        "provider": (_first(held, "provider", "litellm_provider") or "*").lower(), "model_pattern": model.lower(),
        "currency": (_first(held, "currency") or "USD").upper(), "tier": (_first(held, "tier") or "*").lower(),
        "above_tokens": _above(_first(held, "above_tokens"), line), "line": line,
        "valid_from": _time(_first(held, "valid_from", "effective_from"), line),
    }  # fmt: skip
    unit = _first(held, "unit", "per")
    if "bucket" in held and "price" in held:
        held = {f"{held['bucket']}": held["price"]}
    for name, value in held.items():
        match = _COLUMN.fullmatch(name)
        bucket = _BUCKETS.get(match["bucket"]) if match else None
        if match is None or bucket is None or value in (None, ""):
            continue
        price = _number(value)
        if price is None:
            raise PriceRefused(f"{line}, column {name}: {str(value)[:40]!r} is no price")
        yield FilePrice(bucket=bucket, price=price / _count(bucket, match["per"], unit, per, name), **about)


def _count(bucket: str, stated: str | None, unit: str | None, per: str | None, name: str) -> int:
    """How many tokens a price is for: by the column's name, the row's unit, or what the caller says."""
    if counted_by(bucket) != "token":
        return 1
    words = (unit or "").lower().replace("tokens", "").replace("token", "").strip(" _")
    chosen = _COLUMN_PER.get(stated or "") or (_COLUMN_PER.get(words or "token") if unit else None) or per
    if chosen is None:
        raise PriceRefused(f"column {name} does not say for how many tokens its prices are: name it {name}_per_1m, or "
                           "give --per 1M")  # fmt: skip
    return PER[chosen]


def _first(row: Mapping[str, Any], *names: str) -> str | None:
    return next((str(row[name]).strip() for name in names if row.get(name) not in (None, "")), None)


def _time(text: str | None, line: str) -> dt.datetime | None:
    if text is None:
        return None
    try:
        time = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise PriceRefused(f"{line}: {text[:40]!r} is no date such as 2026-11-01") from None
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _above(text: str | None, line: str) -> int:
    if text is None:
        return 0
    if not text.isdecimal():
        raise PriceRefused(f"{line}: above_tokens {text[:40]!r} is no number of tokens such as 200000")
    return int(text)


def _number(value: Any) -> Decimal | None:
    """A finite amount of at least 0; None for what is none."""
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() and number >= 0 else None


def distinct(prices: Iterable[FilePrice]) -> list[FilePrice]:
    """One price for each identity; a later row of the file corrects an earlier one."""
    found = {
        (p.provider, p.model_pattern, p.bucket, p.tier, p.above_tokens, p.valid_from): p for p in prices
    }  # fmt: skip
    return list(found.values())
