"""The price book: genai-prices' packaged data as flat dated rows, with the user's prices above it. USD only.

Layers, the later over the earlier: genai-prices < user overrides. Cost is never computed here: `rates` gives the few
rows that the stored model names need, and `sql/cost.sql` joins them to calls. What the source gets wrong is listed in
docs/sql.md (prices before their verified date, unknown tiers): such calls are priced as the source does, with the
confidence `assumed`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from hashlib import blake2b
from importlib.metadata import version
from typing import Any

import pyarrow as pa
from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices, TimeOfDateConstraint

from spanfold.analytics.price_match import CONFIDENCE, LOCAL, Match, Matcher
from spanfold.analytics.price_overrides import Override, Stated, read
from spanfold.analytics.price_rates import conditional_prices, rate_rows, unit_of
from spanfold.analytics.price_rows import MODELS, PRICES, RATES

ModelKey = tuple[str | None, str | None, str | None]  # provider, request_model, response_model as sent

_BUCKETS = {  # units of the source that are usage buckets here; the others keep their name
    "input_tokens": "uncached_input", "cache_read_tokens": "cache_read", "cache_write_tokens": "cache_write",
    "cache_write_1h_tokens": "cache_write_1h", "input_audio_tokens": "audio_input",
    "input_image_tokens": "image_input", "output_tokens": "text_output", "output_reasoning_tokens": "reasoning",
    "output_audio_tokens": "audio_output", "requests": "request",
}  # fmt: skip
_UNITS = {"tokens": "token", "requests": "request", "tool_calls": "search", "rerank": "search",
          "document_pages": "page", "durations": "second", "characters": "character", "messages": "message",
          "pixels": "pixel"}  # fmt: skip
_SUGGESTIONS = 500  # names beyond these get none: comparing is slow


class PriceBook:
    """Prices of models. Matching a name costs once; nothing here grows with the number of calls."""

    def __init__(self, matcher: Matcher, overrides: Sequence[Override]) -> None:
        self._matcher, self._overrides = matcher, overrides
        self._found: dict[ModelKey, Match | None] = {}
        self._rates: dict[ModelKey, list[dict[str, Any]]] = {}
        self._suggested: dict[str, str | None] = {}

    @classmethod
    def load(cls, overrides: Iterable[Stated] = ()) -> PriceBook:
        """The packaged book with these overrides. Raises PriceRefused for an implausible one."""
        return cls(Matcher(), read(overrides))

    @cached_property
    def version(self) -> str:
        """Names source, release and overrides: equal versions give equal costs."""
        digest = blake2b(repr(self._overrides).encode(), digest_size=4).hexdigest()
        return f"genai-prices {version('genai-prices')}" + (f"+{digest}" if self._overrides else "")

    def resolve(self, provider: str | None, model: str | None) -> Match | None:
        """The priced model that a name means; None = unpriced."""
        found = self._matcher.find(provider, model)
        stated, name = (provider or "").strip().lower(), (model or "").strip().lower()
        if found is None and name and any(o.fits(stated, name) for o in self._overrides):
            return Match(stated or "any", name, "exact")
        return found

    def rates(self, models: Iterable[ModelKey]) -> pa.Table:
        """`RATES` rows for these names: at most one fits a call. Names without a price have none."""
        rows = [row for key in _ordered(models) for row in self._rates_of(key)]
        return pa.Table.from_pylist(rows, schema=RATES)

    def models(self, models: Iterable[ModelKey]) -> pa.Table:
        """`MODELS` rows: what each combination of names is priced as."""
        return pa.Table.from_pylist([self._model_row(key) for key in _ordered(models)], schema=MODELS)

    def rows(self) -> pa.Table:
        """The whole book as `PRICES` rows."""
        return self._rows

    @cached_property
    def _rows(self) -> pa.Table:
        rows = [row for provider in self._matcher.providers for model in provider.models
                for row in _book_rows(provider, model)]  # fmt: skip
        source = f"genai-prices {version('genai-prices')}"
        for row in rows:
            row |= {"layer": "book", "source": source}
        rows += [_local_row(name, bucket) for name in sorted(LOCAL) for bucket in ("uncached_input", "text_output")]
        rows += [_override_row(override) for override in self._overrides]
        for row in rows:
            row |= {"currency": "USD", "book_version": self.version}
        return pa.Table.from_pylist(rows, schema=PRICES)

    def _rates_of(self, key: ModelKey) -> list[dict[str, Any]]:
        if key not in self._rates:
            match = self._match(key)
            names = dict(zip(("provider", "request_model", "response_model"), key, strict=True))
            rows = [] if match is None else [names | row for row in rate_rows(match, self._fitting(match, key))]
            self._rates[key] = rows
        return self._rates[key]

    def _match(self, key: ModelKey) -> Match | None:
        """By the model that answered; by the one that was asked for only where that is the surer match."""
        if key not in self._found:
            provider, request, response = key
            found = [self.resolve(provider, name) for name in (response, request) if name]
            ranked = sorted((m for m in found if m), key=lambda m: CONFIDENCE.index(m.confidence))
            self._found[key] = ranked[0] if ranked else None
        return self._found[key]

    def _fitting(self, match: Match, key: ModelKey) -> list[Override]:
        """Overrides for the names as sent, or for the model of the book that they mean."""
        provider, request, response = ((name or "").strip().lower() for name in key)
        names = [(match.provider, match.model.lower())]
        names += [(p, n) for p in (provider, match.provider) for n in (response or request,) if n]
        return [o for o in self._overrides if any(o.fits(*name) for name in names)]

    def _model_row(self, key: ModelKey) -> dict[str, Any]:
        match, rates = self._match(key), self._rates_of(key)
        name = key[2] or key[1]
        priced = match is not None and bool(rates)
        return {
            "provider": key[0], "request_model": key[1], "response_model": key[2],
            "price_key": match.price_key if match and priced else None,
            "confidence": match.confidence if match and priced else "unpriced",
            "suggestion": self._suggest(name) if name and not priced else None,
        }  # fmt: skip

    def _suggest(self, name: str) -> str | None:
        if name not in self._suggested and len(self._suggested) < _SUGGESTIONS:
            near = get_close_matches(name.lower().rsplit("/", 1)[-1], self._names, n=1, cutoff=0.6)
            self._suggested[name] = self._names[near[0]] if near else None
        return self._suggested.get(name)

    @cached_property
    def _names(self) -> dict[str, str]:
        """Model name -> price key; a provider's own model before a reseller's copy."""
        names: dict[str, str] = {}
        for provider in self._matcher.providers:
            for model in provider.models:
                if not any(row["unit"] == "token" for row in _book_rows(provider, model)):
                    continue
                name = model.id.lower().rsplit("/", 1)[-1]
                if name == model.id.lower() or name not in names:
                    names.setdefault(name, f"{provider.id}/{model.id}")
        return names


def _ordered(models: Iterable[ModelKey]) -> list[ModelKey]:
    return sorted(set(models), key=repr)


def _book_rows(provider: Provider, model: ModelInfo) -> Iterator[dict[str, Any]]:
    """One row per price as the source states it: standard ones with their period, variants with their context."""
    dated = conditional_prices(model)
    starts = sorted({p.constraint.start_date for p in dated if isinstance(p.constraint, StartDateConstraint)})
    for one in dated:
        period = _period(one.constraint, starts)
        for row in _unit_rows(one.prices):
            yield _named(provider, model) | period | row
    for variant in model.price_variants or ():
        context = next(iter(variant.when.items()))
        period = _period(variant.constraint, []) | {"context_key": context[0], "context_value": context[1]}
        for row in _unit_rows(variant.prices):
            yield _named(provider, model) | period | row


def _named(provider: Provider, model: ModelInfo) -> dict[str, Any]:
    return {"price_key": f"{provider.id}/{model.id}", "provider": provider.id, "model": model.id}


def _period(constraint: StartDateConstraint | TimeOfDateConstraint | None, starts: Sequence[dt.date]) -> dict[str, Any]:
    if isinstance(constraint, TimeOfDateConstraint):
        return {"day_from": str(constraint.start_time)[:8], "day_to": str(constraint.end_time)[:8]}
    begin = constraint.start_date if constraint else None
    later = [day for day in starts if begin is None or day > begin]
    return {"valid_from": _midnight(begin), "valid_to": _midnight(later[0] if later else None)}


def _midnight(day: dt.date | None) -> dt.datetime | None:
    return dt.datetime.combine(day, dt.time()) if day else None


def _unit_rows(prices: ModelPrice) -> Iterator[dict[str, Any]]:
    for key, price in prices.__dict__.items():
        if price is None:
            continue
        unit = unit_of(key)
        row = {
            "bucket": _BUCKETS.get(unit.usage_key, unit.usage_key),
            "unit": _UNITS.get(unit.dimensions.get("family", ""), unit.dimensions.get("family")),
        }
        if isinstance(price, TieredPrices):
            yield row | {"price": float(price.base / unit.per)}
            for tier in price.tiers:
                yield row | {"price": float(tier.price / unit.per), "tier_start": tier.start}
        else:
            yield row | {"price": float(price / unit.per)}


def _local_row(name: str, bucket: str) -> dict[str, Any]:
    return {
        "price_key": f"{name}/*", "provider": name, "model": "*", "bucket": bucket, "unit": "token", "price": 0.0,
        "layer": "book", "source": "runs on the caller's own machine",
    }  # fmt: skip


def _override_row(override: Override) -> dict[str, Any]:
    unit = unit_of(override.key)
    return {
        "price_key": f"{override.provider}/{override.pattern}", "provider": override.provider,
        "model": override.pattern, "bucket": _BUCKETS.get(unit.usage_key, unit.usage_key),
        "unit": "request" if unit.usage_key == "requests" else "token", "price": float(override.price),
        "layer": "override", "source": override.source, "valid_from": override.valid_from,
        "known_from": override.known_from,
    }  # fmt: skip
