"""What prices rest on besides stated ones: aliases of model names, kept price books, exchange rates.

All are bitemporal: rows are added, never changed; the later known one counts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from decimal import Decimal

import sqlalchemy as sa

from spanfold.state import audit
from spanfold.state.database import Database
from spanfold.state.errors import Invalid
from spanfold.state.price_overrides import ALWAYS
from spanfold.state.tables import exchange_rates, price_aliases, price_books, settings_audit


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceAlias:
    """Calls of these names are priced as `target`, a `provider/model` of the price book; None takes it back."""

    provider: str  # '*' = any
    model_pattern: str
    target: str | None
    valid_from: dt.datetime = ALWAYS
    known_from: dt.datetime | None = None  # None = now
    source: str = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBook:
    """A built-in price list as it was taken over. `data` is compressed."""

    source: str
    digest: str
    data: bytes
    known_from: dt.datetime | None = None  # None = now


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRate:
    """One unit of `currency` is worth `usd` US dollars from `day` (UTC) on, until the next stated day."""

    currency: str
    day: dt.date
    usd: Decimal
    known_from: dt.datetime | None = None
    source: str = "user"


class PriceSources:
    """Aliases, kept books and exchange rates of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def revision(self) -> tuple[int, int]:
        """Another one after every change of anything that decides prices: cheap to ask often."""
        query = sa.select(sa.func.max(settings_audit.c.seq), sa.func.count()).where(settings_audit.c.area == "prices")
        with self._database.read() as connection:
            newest, count = connection.execute(query).one()
        return newest or 0, count

    def add_aliases(self, aliases: Iterable[PriceAlias], *, who: str) -> list[PriceAlias]:
        """Store aliases, all or none. Raises Invalid for one whose target is no provider/model."""
        now = self._database.now()
        stored = [replace(a, known_from=a.known_from or now) for a in aliases]
        for alias in stored:
            if not alias.provider or not alias.model_pattern:
                raise Invalid("an alias needs a provider (or *) and a model name")
            if alias.target is not None and not all(alias.target.partition("/")):
                raise Invalid(f"{alias.target!r} is no model of the price book such as openai/gpt-4o")
        with self._database.write() as connection:
            for alias in stored:
                connection.execute(sa.insert(price_aliases), asdict(alias) | {"who": who})
                action = "alias" if alias.target else "withdraw alias"
                about = f"{alias.provider}/{alias.model_pattern}"
                audit.record(connection, now, who, "prices", action, about, None, asdict(alias))
        return stored

    def aliases(self) -> list[PriceAlias]:
        """Every alias ever stored, withdrawn ones too, in the order they became known."""
        columns = [price_aliases.c[name] for name in PriceAlias.__dataclass_fields__]
        with self._database.read() as connection:
            rows = connection.execute(sa.select(*columns).order_by(price_aliases.c.known_from, price_aliases.c.id))
            return [PriceAlias(**row) for row in rows.mappings()]

    def keep_book(self, book: KeptBook, *, who: str) -> KeptBook:
        """Make this price list the one in force; those before stay known."""
        now = self._database.now()
        kept = replace(book, known_from=book.known_from or now)
        with self._database.write() as connection:
            connection.execute(sa.insert(price_books), asdict(kept) | {"who": who})
            became = {"source": kept.source, "digest": kept.digest}
            audit.record(connection, now, who, "prices", "sync", kept.source, None, became)
        return kept

    def books(self) -> list[KeptBook]:
        """Every price list that was in force, oldest first."""
        columns = [price_books.c[name] for name in KeptBook.__dataclass_fields__]
        with self._database.read() as connection:
            rows = connection.execute(sa.select(*columns).order_by(price_books.c.known_from, price_books.c.id))
            return [KeptBook(**row) for row in rows.mappings()]

    def add_rates(self, rates: Iterable[ExchangeRate], *, who: str) -> list[ExchangeRate]:
        """Store exchange rates, all or none; a later row for the same day corrects the earlier one."""
        now = self._database.now()
        stored = [replace(r, known_from=r.known_from or now) for r in rates]
        for rate in stored:
            if len(rate.currency) != 3 or not rate.currency.isascii() or not rate.currency.isupper():
                raise Invalid(f"{rate.currency!r} is not a currency code such as EUR")
            if rate.currency == "USD" or not rate.usd.is_finite() or rate.usd <= 0:
                raise Invalid(f"{rate.usd} USD for one {rate.currency} is no exchange rate")
        with self._database.write() as connection:
            for rate in stored:
                connection.execute(sa.insert(exchange_rates), asdict(rate) | {"who": who})
                audit.record(
                    connection, now, who, "prices", "rate", f"{rate.currency} {rate.day}", None, asdict(rate)
                )  # fmt: skip
        return stored

    def rates(self) -> list[ExchangeRate]:
        """The rate of each currency and day that counts now, oldest day first."""
        columns = [exchange_rates.c[name] for name in ExchangeRate.__dataclass_fields__]
        with self._database.read() as connection:
            rows = connection.execute(sa.select(*columns).order_by(exchange_rates.c.known_from, exchange_rates.c.id))
            counted = {(row["currency"], row["day"]): ExchangeRate(**row) for row in rows.mappings()}
        return sorted(counted.values(), key=lambda rate: (rate.currency, rate.day))
