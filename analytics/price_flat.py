"""The flat book: one row per price, as its source states it, in one unit and currency a row (view `prices`)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices, TimeOfDateConstraint

from spanfold.analytics.price_editions import Edition
from spanfold.analytics.price_match import LOCAL
from spanfold.analytics.price_overrides import Override
from spanfold.analytics.price_rates import conditional_prices, unit_of

_BUCKETS = {  # units of the source that are usage buckets here; the others keep their name
    "input_tokens": "uncached_input", "cache_read_tokens": "cache_read", "cache_write_tokens": "cache_write",
    "cache_write_1h_tokens": "cache_write_1h", "input_audio_tokens": "audio_input",
    "input_image_tokens": "image_input", "output_tokens": "text_output", "output_reasoning_tokens": "reasoning",
    "output_audio_tokens": "audio_output", "requests": "request", "web_searches": "web_search",
}  # fmt: skip
_UNITS = {"tokens": "token", "requests": "request", "tool_calls": "search", "rerank": "search",
          "document_pages": "page", "durations": "second", "characters": "character", "messages": "message",
          "pixels": "pixel"}  # fmt: skip


def edition_rows(edition: Edition) -> Iterator[dict[str, Any]]:
    """Every price of a kept list, and the free local models as rows with 0."""
    about = {"layer": "book", "source": edition.source, "known_from": edition.known_from, "currency": "USD"}
    for provider in edition.matcher.providers:
        for model in provider.models:
            for row in book_rows(provider, model):
                yield row | about
    for name in sorted(LOCAL):
        for bucket in ("uncached_input", "text_output"):
            yield {
                "price_key": f"{name}/*", "provider": name, "model": "*", "bucket": bucket, "unit": "token",
                "price": 0.0, "layer": "book", "source": "runs on the caller's own machine", "currency": "USD",
            }  # fmt: skip


def book_rows(provider: Provider, model: ModelInfo) -> Iterator[dict[str, Any]]:
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


def override_rows(overrides: Iterable[Override]) -> Iterator[dict[str, Any]]:
    """Stated prices, corrected and withdrawn ones too: `known_to` says when. `overrides` in the order of knowledge."""
    rows: list[dict[str, Any]] = []
    open_rows: dict[tuple[object, ...], dict[str, Any]] = {}
    for override in overrides:
        before = open_rows.pop(override.identity, None)
        if before is not None:
            before["known_to"] = override.known_from
        if override.price is not None:
            open_rows[override.identity] = _override_row(override)
            rows.append(open_rows[override.identity])
    yield from rows


def _override_row(override: Override) -> dict[str, Any]:
    unit = unit_of(override.key)
    tier = None if override.tier in ("*", "standard") else override.tier
    return {
        "price_key": f"{override.provider}/{override.pattern}", "provider": override.provider,
        "model": override.pattern, "bucket": _BUCKETS.get(unit.usage_key, unit.usage_key),
        "unit": _UNITS[unit.dimensions["family"]], "price": float(override.price or 0),
        "layer": override.layer, "source": override.source, "valid_from": override.valid_from,
        "known_from": override.known_from, "currency": override.currency,
        "tier_start": override.above or None, "context_key": "service_tier" if tier else None, "context_value": tier,
    }  # fmt: skip


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
