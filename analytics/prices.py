"""The price book: dated, flat prices in layers, and what the stored model names cost by them.

Layers, the later over the earlier: genai-prices < an imported file < negotiated rates < user overrides. Cost is never
computed here: `rates` gives the few rows that the stored model names need, and `sql/cost.sql` joins them to calls.
What the source gets wrong is listed in docs/prices.md (prices before their verified date, unknown tiers): such calls
are priced as the source does, with the confidence `assumed`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from spanfold.analytics import price_aliases, price_editions, price_overrides
from spanfold.analytics.errors import PriceRefused
from spanfold.analytics.price_aliases import Alias, StatedAlias, Suggestions
from spanfold.analytics.price_editions import Edition, Kept
from spanfold.analytics.price_flat import book_rows, edition_rows, override_rows
from spanfold.analytics.price_match import CONFIDENCE, Match, name_forms
from spanfold.analytics.price_overrides import (
    ALWAYS,
    NEVER,
    Exchange,
    Override,
    Overrides,
    Stated,
    StatedRate,
    in_force,
)
from spanfold.analytics.price_rates import ALL_TIME, Window, listed_price, rate_rows
from spanfold.analytics.price_rows import EXCHANGE, MODELS, PRICES, RATES

ModelKey = tuple[str | None, str | None, str | None]  # provider, request_model, response_model as sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a book is made of; every list in the order in which it became known."""

    stated: Sequence[Stated] = ()  # corrected and withdrawn rows too
    aliases: Sequence[StatedAlias] = ()
    kept: Sequence[Kept] = ()  # none: the list of the installed package
    rates: Sequence[StatedRate] = ()


class PriceBook:
    """Prices of models. Matching a name costs once; nothing here grows with the number of calls."""

    def __init__(
        self, editions: Sequence[Edition], overrides: Iterable[Override], aliases: Sequence[Alias], exchange: Exchange
    ) -> None:
        self._editions, self._aliases, self._exchange = editions, aliases, exchange
        self._overrides = Overrides(overrides)
        self._rates: dict[tuple[ModelKey, bool], list[dict[str, Any]]] = {}

    @classmethod
    def load(cls, stated: Iterable[Stated] = (), *, sources: Sources | None = None) -> PriceBook:
        """The book of these sources, or the packaged one under `stated` prices. Raises PriceRefused for an
        implausible price, and for a currency without exchange rate."""
        sources = sources or Sources(stated=list(stated))
        exchange = Exchange.of(sources.rates)
        overrides = price_overrides.read(sources.stated)
        for currency in {override.currency for override in overrides}:
            exchange.at(currency, NEVER)
        editions = list(_readable(sources.kept)) or [price_editions.installed()]
        return cls(editions, overrides, price_aliases.read(sources.aliases), exchange)

    @cached_property
    def version(self) -> str:
        """Names source, release and what is stated over it: equal versions give equal costs."""
        newest = self._editions[-1]
        made_of = ([(e.digest, e.known_from) for e in self._editions], self._overrides.all, self._aliases,
                   self._exchange.rates)  # fmt: skip
        digest = blake2b(repr(made_of).encode(), digest_size=6).hexdigest()
        return f"{newest.source}+{digest}"

    def resolve(self, provider: str | None, model: str | None) -> Match | None:
        """The priced model that a name means now; None = unpriced."""
        return self._resolve(provider, model, self._editions[-1], NEVER, NEVER)

    def suggest(self, name: str) -> str | None:
        """The known model that an unknown name may mean, as provider/model."""
        return self._suggestions.of(name)

    def is_current(self) -> bool:
        """Is the list in force that of the installed package?"""
        return self._editions[-1].digest == price_editions.installed().digest

    def listed(self, provider: str, model: str, bucket: str, at: dt.datetime) -> Decimal | None:
        """USD per token that the built-in list asks of a standard call for exactly this model; None = not listed."""
        match = self._editions[-1].matcher.find(provider, model)
        return listed_price(match, bucket, at) if match is not None and match.confidence == "exact" else None

    def lists_tiers(self, provider: str, model: str) -> bool:
        """Has the built-in list prices of its own for service tiers of this model?"""
        match = self._editions[-1].matcher.find(provider, model)
        return match is not None and match.info is not None and bool(match.info.price_variants)

    def rates(self, models: Iterable[ModelKey], *, believed: bool = False) -> pa.Table:
        """`RATES` rows for these names: at most one fits a call. Names without a price have none. `believed`: with the
        knowledge of each moment, instead of today's."""
        rows = [row for key in _ordered(models) for row in self.rates_of(key, believed=believed)]
        return pa.Table.from_pylist(rows, schema=RATES)

    def rates_of(self, key: ModelKey, *, believed: bool = False) -> list[dict[str, Any]]:
        """`rates` of one combination of names."""
        if (key, believed) not in self._rates:
            names = dict(zip(("provider", "request_model", "response_model"), key, strict=True))
            self._rates[(key, believed)] = [names | row for row in self._rate_rows(key, believed)]
        return self._rates[(key, believed)]

    def models(self, models: Iterable[ModelKey]) -> pa.Table:
        """`MODELS` rows: what each combination of names is priced as."""
        return pa.Table.from_pylist([self._model_row(key) for key in _ordered(models)], schema=MODELS)

    def rows(self) -> pa.Table:
        """The whole book as `PRICES` rows."""
        return self._rows

    def exchange_rows(self) -> pa.Table:
        """The exchange rates as `EXCHANGE` rows."""
        rows = [
            {"currency": currency, "day": day.date(), "usd": float(usd)}
            for currency, days in sorted(self._exchange.rates.items()) for day, usd in days
        ]  # fmt: skip
        return pa.Table.from_pylist(rows, schema=EXCHANGE)

    @cached_property
    def _rows(self) -> pa.Table:
        built_in = _edition_table(self._editions[-1])
        stated = pa.Table.from_pylist(list(override_rows(self._overrides.all)), schema=PRICES)
        rows = pa.concat_tables([built_in, stated])
        at = PRICES.get_field_index("book_version")
        return rows.set_column(at, PRICES.field(at), pa.repeat(self.version, len(rows)))

    # ---- one combination of names ------------------------------------------------------------------------------------
    def _rate_rows(self, key: ModelKey, believed: bool) -> Iterator[dict[str, Any]]:
        for window in self._windows(key, believed):
            known_at = window.start if believed else NEVER
            match = self._match(key, window.start, known_at)
            if match is not None:
                fitting = in_force(self._overrides.fitting(self._price_names(match, key)), known_at)
                yield from rate_rows(match, fitting, self._exchange, window)

    def _windows(self, key: ModelKey, believed: bool) -> list[Window]:
        """Stretches of time in which these names mean one model and, for `believed`, nothing new became known."""
        aliases = [a for name in _sent(key) for a in self._aliases if a.fits(self._providers(key[0]), name)]
        cuts = {alias.valid_from for alias in aliases}
        if believed:
            cuts |= {alias.known_from for alias in aliases}
            cuts |= {edition.known_from for edition in self._editions[1:] if edition.known_from}
            cuts |= {o.known_from for o in self._overrides.fitting(self._all_names(key)) if o.known_from}
        starts = [ALL_TIME.start, *sorted(cut for cut in cuts if ALL_TIME.start < cut < ALL_TIME.end)]
        return [Window(start, end) for start, end in zip(starts, [*starts[1:], ALL_TIME.end], strict=True)]

    def _all_names(self, key: ModelKey) -> set[tuple[str, str]]:
        """Every name by which a stated price may fit these names at any time."""
        names: set[tuple[str, str]] = set()
        moments = [NEVER, *(alias.valid_from for alias in self._aliases)]
        for edition in self._editions:
            for at in moments:
                found = [self._resolve(key[0], name, edition, at, NEVER) for name in _sent(key)]
                for match in (match for match in found if match is not None):
                    names |= set(self._price_names(match, key))
        return names or {(p, n) for p in self._providers(key[0]) for n in _sent(key)}

    def _match(self, key: ModelKey, at: dt.datetime, known_at: dt.datetime) -> Match | None:
        """By the model that answered; by the one that was asked for only where that is the surer match."""
        provider, request, response = key
        edition = self._edition(known_at)
        found = [self._resolve(provider, name, edition, at, known_at) for name in (response, request) if name]
        ranked = sorted((m for m in found if m), key=lambda m: CONFIDENCE.index(m.confidence))
        return ranked[0] if ranked else None

    def _edition(self, known_at: dt.datetime) -> Edition:
        """The list that was in force; the first one also before it was taken over."""
        known = [edition for edition in self._editions if (edition.known_from or ALWAYS) <= known_at]
        return known[-1] if known else self._editions[0]

    def _resolve(
        self, provider: str | None, model: str | None, edition: Edition, at: dt.datetime, known_at: dt.datetime
    ) -> Match | None:
        name = (model or "").strip().lower()
        providers = self._providers(provider)
        alias = price_aliases.chosen((a for a in self._aliases if a.fits(providers, name)), at, known_at)
        if alias is not None and alias.target is not None:
            return _aliased(edition, alias.target)
        found = edition.matcher.find(provider, model)
        if not name or (found is not None and found.confidence == "exact"):
            return found
        stated = in_force(self._overrides.fitting((p, name) for p in providers), known_at)
        if found is None and stated:
            return Match(providers[-1] or "any", name, "exact")
        if found is not None and any(o.is_exact and o.provider in providers for o in stated):
            return replace(found, confidence="exact")
        return found

    def _providers(self, provider: str | None) -> tuple[str, ...]:
        """A provider as it was sent and as the book calls it."""
        stated = (provider or "").strip().lower()
        return tuple(dict.fromkeys((stated, self._editions[-1].matcher.canonical(provider))))

    def _price_names(self, match: Match, key: ModelKey) -> list[tuple[str, str]]:
        """(provider, model) by which stated prices may name this model: the book's names, the names as sent and their
        forms without path, region, tag and date."""
        sent = (key[2] or key[1] or "").strip().lower()
        providers = [*self._providers(key[0]), match.provider]
        return [(match.provider, match.model.lower()), *((p, form) for p in providers for form in name_forms(sent))]

    def _model_row(self, key: ModelKey) -> dict[str, Any]:
        match, rates = self._match(key, NEVER, NEVER), self.rates_of(key)
        name = key[2] or key[1]
        priced = match is not None and bool(rates)
        return {
            "provider": key[0], "request_model": key[1], "response_model": key[2],
            "price_key": match.price_key if match and priced else None,
            "confidence": match.confidence if match and priced else "unpriced",
            "suggestion": self._suggestions.of(name) if name and not priced else None,
        }  # fmt: skip

    @cached_property
    def _suggestions(self) -> Suggestions:
        """Model name -> price key; a provider's own model before a reseller's copy."""
        names: dict[str, str] = {}
        for provider in self._editions[-1].matcher.providers:
            for model in provider.models:
                if not any(row["unit"] == "token" for row in book_rows(provider, model)):
                    continue
                name = model.id.lower().rsplit("/", 1)[-1]
                if name == model.id.lower() or name not in names:
                    names.setdefault(name, f"{provider.id}/{model.id}")
        return Suggestions(names)


@lru_cache(4)
def _edition_table(edition: Edition) -> pa.Table:
    return pa.Table.from_pylist(list(edition_rows(edition)), schema=PRICES)


def _readable(kept: Iterable[Kept]) -> Iterator[Edition]:
    """The kept lists that the installed package understands; `unreadable` names the others."""
    for one in kept:
        try:
            yield price_editions.read(one)
        except PriceRefused:
            continue


def unreadable(kept: Iterable[Kept]) -> list[str]:
    """Why kept lists are left out, a sentence each."""
    found = []
    for one in kept:
        try:
            price_editions.read(one)
        except PriceRefused as error:
            found.append(str(error))
    return found


def _aliased(edition: Edition, target: str) -> Match:
    """The model that an alias names; one that only stated prices know costs nothing of the book."""
    provider, _, model = target.partition("/")
    found = edition.matcher.find(provider, model)
    return replace(found, confidence="exact") if found is not None else Match(provider, model.lower(), "exact")


def _sent(key: ModelKey) -> list[str]:
    return [name.strip().lower() for name in (key[2], key[1]) if name]


def _ordered(models: Iterable[ModelKey]) -> list[ModelKey]:
    return sorted(set(models), key=repr)
