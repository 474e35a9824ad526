"""What the price verbs do: work out the rows a person's words or a file come to, and what they would change."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from spanfold import pricing
from spanfold.analytics import price_files, price_magnitude, price_preview
from spanfold.analytics.errors import NoSnapshot
from spanfold.analytics.price_overrides import counted_by
from spanfold.analytics.price_overrides import read as check
from spanfold.analytics.prices import PriceBook, Sources
from spanfold.analytics.snapshots import Snapshots
from spanfold.errors import SpanfoldError
from spanfold.state.price_overrides import ALWAYS, PriceOverride
from spanfold.state.price_sources import ExchangeRate, KeptBook, PriceAlias
from spanfold.state.store import StateStore

Row = dict[str, Any]
_EVERY_TIER = "it counts for every service tier, batch and flex too: --tier standard leaves those to the list"
SHORT_BUCKETS = {"input": "uncached_input", "output": "text_output"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Prices to be stored, and what they would do to recorded usage."""

    stated: Sequence[PriceOverride] = ()
    aliases: Sequence[PriceAlias] = ()
    book: KeptBook | None = None
    rates: Sequence[ExchangeRate] = ()
    subject: str | None = None  # the file they are from
    notes: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.stated or self.aliases or self.book or self.rates)

    def store(self, state: StateStore, who: str) -> None:
        """Each kind in one transaction with its audit lines."""
        if self.stated:
            state.prices.add(self.stated, who=who, subject=self.subject)
        if self.aliases:
            state.price_sources.add_aliases(self.aliases, who=who)
        if self.book is not None:
            state.price_sources.keep_book(self.book, who=who)
        if self.rates:
            state.price_sources.add_rates(self.rates, who=who)


def difference(data: Path, state: StateStore, change: Change) -> list[Row]:
    """By month and model, what the change would make of recorded usage. Raises PriceRefused for what the book would
    refuse."""
    before = pricing.sources(state)
    after = PriceBook.load(sources=_changed(before, change))
    try:
        opened = Snapshots(data).newest()
    except NoSnapshot:
        return []  # no call was recorded yet
    with opened.reading() as cursor:
        return price_preview.difference(cursor, PriceBook.load(sources=before), after)


def _changed(held: Sources, change: Change) -> Sources:
    now = dt.datetime.now(dt.UTC)
    first = held.kept or ([pricing.installed_book()] if change.book else [])
    kept = [*first, replace(change.book, known_from=now)] if change.book else first
    return Sources(
        stated=[*held.stated, *(replace(row, known_from=now) for row in change.stated)],
        aliases=[*held.aliases, *(replace(row, known_from=now) for row in change.aliases)],
        kept=kept, rates=[*held.rates, *change.rates],
    )  # fmt: skip


# ---- what a verb comes to --------------------------------------------------------------------------------------------
def set_change(
    state: StateStore, provider: str, model: str, amounts: Iterable[tuple[str, Decimal | None]], *,
    valid_from: dt.datetime = ALWAYS, currency: str = "USD", tier: str = "*", above_tokens: int = 0,
    layer: str = "override", source: str = "cli", force: bool = False,
) -> Change:  # fmt: skip
    """Prices per single token. Raises PriceRefused for an implausible one, and unless `force` for one that is far from
    the built-in list."""
    rows = [
        PriceOverride(
            provider=provider, model_pattern=model, bucket=SHORT_BUCKETS.get(bucket, bucket), price=price,
            unit=counted_by(bucket), valid_from=valid_from, currency=currency, tier=tier,
            above_tokens=above_tokens, layer=layer, source=source,
        )
        for bucket, price in amounts
    ]  # fmt: skip
    check(rows)
    book = pricing.load_book(state)
    if not force:
        stated = [
            price_files.FilePrice(provider=provider.lower(), model_pattern=model.lower(), bucket=row.bucket,
                                  price=row.price, currency=currency, valid_from=valid_from)
            for row in rows if row.price is not None
        ]  # fmt: skip
        price_magnitude.check_each(stated, _listed(book, stated))
    tiers = tier == "*" and book.lists_tiers(provider, model)
    return Change(stated=rows, notes=[_EVERY_TIER] if tiers else [])


def import_change(
    state: StateStore, raw: bytes, name: str, *, per: str | None, layer: str | None, valid_from: dt.datetime | None,
    force: bool = False,
) -> Change:  # fmt: skip
    """What a price file adds to what is known. Raises PriceRefused for a file that cannot be meant so; `force` takes
    one of which less than half is far from the built-in list."""
    file = price_files.read(raw, per=per)
    book, now = pricing.load_book(state), dt.datetime.now(dt.UTC)
    prices = price_files.distinct(file.prices)
    listed = _listed(book, prices)
    price_magnitude.check_file(prices, listed)
    if file.form == "rates" and not force:
        price_magnitude.check_each(prices, listed)
    layer = layer or ("imported" if file.form == "litellm" else "negotiated")
    held = _newest(state.prices.current(), layer)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    rows = []
    for price in prices:
        before = held.get((price.provider, price.model_pattern, _bucket(price), price.tier, price.above_tokens))
        known = before is not None or (price.provider, price.model_pattern, price.bucket) in listed
        start = valid_from or price.valid_from or (today if file.form == "litellm" and known else ALWAYS)
        if before is None or (before.price, before.currency) != (price.price, price.currency):
            rows.append(_row(price, start, layer, name))
    check(rows)
    notes = [f"{len(prices):,} prices read, {len(prices) - len(rows):,} of them known already"]
    notes += [f"not used: {count:,} {what}" for what, count in sorted(file.skipped.items(), key=lambda i: -i[1])[:10]]
    return Change(stated=rows, subject=name, notes=notes)


def sync_change(state: StateStore) -> Change:
    """The price list of the installed package, unless it is the one in force."""
    kept = state.price_sources.books()
    installed = pricing.installed_book()
    if kept and kept[-1].digest == installed.digest:
        return Change(notes=[f"{installed.source} is in force already"])
    before = kept[-1].source if kept else "nothing"
    return Change(book=installed, notes=[f"{installed.source} in place of {before}"])


def alias_change(
    state: StateStore, provider: str, model: str, target: str | None, *, valid_from: dt.datetime = ALWAYS
) -> Change:
    """Raises SpanfoldError for a target that has no price."""
    alias = PriceAlias(provider=provider, model_pattern=model, target=target, valid_from=valid_from, source="cli")
    if target is not None:
        held = pricing.sources(state)
        book = PriceBook.load(sources=held)
        if "/" not in target or not price_preview.has_price(book, target):
            near = book.suggest(target)
            raise SpanfoldError(
                f"{target!r} is no model of the price book with a price" + (f": did you mean {near}?" if near else "")
            )
    return Change(aliases=[alias])


def suggestions(data: Path) -> list[Row]:
    """The inbox: models without a price by volume, with the nearest known model."""
    with Snapshots(data).newest().reading() as cursor:
        rows: list[Row] = cursor.sql("FROM unpriced ORDER BY calls DESC, provider, model").to_arrow_table().to_pylist()
    return rows


def amount(text: str, per: int) -> tuple[str, Decimal | None]:
    """BUCKET=AMOUNT as bucket and price of one token (or request, search). Raises ValueError for another form."""
    bucket, equals, value = text.partition("=")
    if not bucket or not equals:
        raise ValueError(f"{text!r} is not of the form BUCKET=AMOUNT, such as input=0.25")
    if value == "none":
        return bucket, None
    try:
        return bucket, Decimal(value) / (per if counted_by(bucket) == "token" else 1)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not an amount of money, such as 0.25") from None


def _listed(book: PriceBook, prices: Iterable[price_files.FilePrice]) -> dict[tuple[str, str, str], Decimal]:
    """What the built-in list asks today for the models that these prices name, in USD per token."""
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    found = {}
    for price in prices:
        usd = book.listed(price.provider, price.model_pattern, price.bucket, now)
        if usd is not None:
            found[(price.provider, price.model_pattern, price.bucket)] = usd
    return found


def _newest(rows: Iterable[PriceOverride], layer: str) -> dict[tuple[str, str, str, str, int], PriceOverride]:
    """The price of a layer that holds last for each model, bucket, tier and context length."""
    found: dict[tuple[str, str, str, str, int], PriceOverride] = {}
    for row in sorted((r for r in rows if r.layer == layer), key=lambda r: r.valid_from):
        found[(row.provider, row.model_pattern, row.bucket, row.tier, row.above_tokens)] = row
    return found


def _bucket(price: price_files.FilePrice) -> str:
    return SHORT_BUCKETS.get(price.bucket, price.bucket)


def _row(price: price_files.FilePrice, start: dt.datetime, layer: str, name: str) -> PriceOverride:
    return PriceOverride(
        provider=price.provider, model_pattern=price.model_pattern, bucket=_bucket(price), price=price.price,
        unit=counted_by(price.bucket), currency=price.currency, valid_from=start, source=name[:300],
        layer=layer, tier=price.tier, above_tokens=price.above_tokens,
    )  # fmt: skip
