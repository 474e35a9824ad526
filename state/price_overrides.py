"""Prices that the user states: bitemporal rows over the built-in price book, never changed and never deleted.

`valid_from` says from when the price holds, `known_from` since when we know it; so a bill can be computed as believed
then and as true now. A later row of the same identity (layer, provider, pattern, bucket, tier, above_tokens,
valid_from) corrects the earlier one, and a row without price takes it back.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal

import sqlalchemy as sa

from spanfold.state import audit
from spanfold.state.database import Database, in_chunks
from spanfold.state.errors import Invalid
from spanfold.state.tables import price_overrides

ALWAYS = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
LAYERS = ("imported", "negotiated", "override")  # the later over the earlier


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceOverride:
    """`price` in `currency` for one single `unit` of `bucket`; `model_pattern` is a glob on the model's name."""

    provider: str  # '*' = any
    model_pattern: str
    bucket: str  # a usage bucket's column without `_tokens`, or `request`
    price: Decimal | None
    unit: str = "token"
    currency: str = "USD"
    valid_from: dt.datetime = ALWAYS
    known_from: dt.datetime | None = None  # None = now
    source: str = "user"
    layer: str = "override"
    tier: str = "*"  # service tier: standard, batch, flex, priority, fast; '*' = every one
    above_tokens: int = 0  # counts for calls with more input tokens than this

    @property
    def identity(self) -> tuple[str, str, str, str, str, int, dt.datetime]:
        """What a later row corrects."""
        return (
            self.layer, self.provider, self.model_pattern, self.bucket, self.tier, self.above_tokens, self.valid_from,
        )  # fmt: skip


class PriceOverrides:
    """The price overrides of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, overrides: Iterable[PriceOverride], *, who: str, subject: str | None = None) -> list[PriceOverride]:
        """Store rows, all or none; returned as stored. Each is a line of the audit log, or all together one line
        about `subject` (a file)."""
        now = self._database.now()
        stored = [replace(o, known_from=o.known_from or now) for o in overrides]
        for override in stored:
            _check(override)
        with self._database.write() as connection:
            for chunk in in_chunks(stored):
                connection.execute(sa.insert(price_overrides), [asdict(override) | {"who": who} for override in chunk])
            if subject is not None:
                _record_file(connection, now, who, subject, stored)
            else:
                for override in stored:
                    about = f"{override.provider}/{override.model_pattern} {override.bucket}"
                    action = "withdraw" if override.price is None else "set"
                    audit.record(connection, now, who, "prices", action, about, None, asdict(override))
        return stored

    def current(self, *, known_at: dt.datetime | None = None) -> list[PriceOverride]:
        """What counts with the knowledge of `known_at` (default now): the latest row of each, if it has a price."""
        counted = {}
        for override in self.rows():
            if known_at is None or (override.known_from or ALWAYS) <= known_at:
                counted[override.identity] = override
        return [o for o in counted.values() if o.price is not None]

    def rows(self) -> list[PriceOverride]:
        """Every row ever stored, withdrawn ones too, in the order they became known."""
        columns = [price_overrides.c[name] for name in PriceOverride.__dataclass_fields__]
        query = sa.select(*columns).order_by(price_overrides.c.known_from, price_overrides.c.id)
        with self._database.read() as connection:
            return [PriceOverride(**row) for row in connection.execute(query).mappings()]


def _record_file(
    connection: sa.Connection, now: dt.datetime, who: str, subject: str, stored: Sequence[PriceOverride]
) -> None:
    became = {"prices": len(stored), "layers": sorted({o.layer for o in stored})}
    audit.record(connection, now, who, "prices", "import", subject, None, became)


def _check(override: PriceOverride) -> None:
    if not override.provider or not override.model_pattern or not override.bucket:
        raise Invalid("a price needs a provider, a model pattern and a bucket")
    if override.price is not None and not (override.price.is_finite() and override.price >= 0):
        raise Invalid(f"{override.price} is not a price: it must be a number of at least 0")
    if len(override.currency) != 3 or not override.currency.isascii() or not override.currency.isupper():
        raise Invalid(f"{override.currency!r} is not a currency code such as USD")
    if override.layer not in LAYERS:
        raise Invalid(f"{override.layer!r} is no layer of prices: {', '.join(LAYERS)}")
    if override.above_tokens < 0:
        raise Invalid(f"a price cannot begin above {override.above_tokens} tokens")
