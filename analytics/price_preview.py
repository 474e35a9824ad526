"""What prices would do to recorded usage: the difference of two books, and one model priced as another."""

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
import pyarrow as pa

from spanfold.analytics.prices import ModelKey, PriceBook
from spanfold.analytics.views import cost_sql, priced_sql, read_sql

Row = dict[str, Any]
_RATES_ASIDE = frozenset({"rate_id", "price_key", "confidence"})  # what a rate is called changes no sum
_NAMES = ("provider", "request_model", "response_model")
_BEFORE = (
    "* EXCLUDE (cost, currency, price_confidence, price_key, rate_id), cost AS cost_before, price_confidence AS was"
)


def difference(cursor: duckdb.DuckDBPyConnection, before: PriceBook, after: PriceBook) -> list[Row]:
    """By month and model: calls, cost before and after, calls without a price. Only models whose rates differ."""
    changed, _ = changed_models(cursor, before, after)
    if not changed:
        return []
    register_models(cursor, changed)
    cursor.register("rates_before", before.rates(changed))
    cursor.register("rates_after", after.rates(changed))
    priced = priced_sql(f"({_select('changed_calls')})", "rates_before")
    text = read_sql("price_difference").replace(
        "{after}", priced_sql(f"(SELECT {_BEFORE} FROM ({priced}))", "rates_after")
    )
    rows: list[Row] = cursor.sql(text).to_arrow_table().to_pylist()
    return rows


def changed_models(cursor: duckdb.DuckDBPyConnection, old: PriceBook, new: PriceBook) -> tuple[list[ModelKey], dt.date]:
    """The stored model names whose rates differ, and the first day on which they do."""
    changed, since = [], dt.date.max
    for key in cursor.sql("SELECT provider, request_model, response_model FROM book.models").fetchall():
        was, becomes = _comparable(old, key), _comparable(new, key)
        if was != becomes:
            changed.append(key)
            since = min(since, *(start.date() for start, _ in was ^ becomes))
    return changed, since


def register_models(cursor: duckdb.DuckDBPyConnection, models: list[ModelKey]) -> None:
    """Makes these names the table `changed_models` of the shipped texts."""
    columns = {name: pa.array([key[i] for key in models], pa.string()) for i, name in enumerate(_NAMES)}
    cursor.register("changed_models", pa.table(columns))


def whatif(
    cursor: duckdb.DuckDBPyConnection, book: PriceBook, *, model: str, as_model: str, tier: str | None = None,
    days: tuple[dt.date, dt.date] = (dt.date.min, dt.date.max), basis: str = "true",
) -> list[Row]:  # fmt: skip
    """Recorded usage of `model` (a name or glob) priced as `as_model` (a name, or provider/model of the book), by
    month, model and service. `basis`: at whose prices, on both sides."""
    key = _named(book, as_model)
    rates = [row | dict.fromkeys(_NAMES) | {"request_model": as_model}
             for row in book.rates_of(key, believed=basis == "believed")]  # fmt: skip
    cursor.register("whatif_rates", pa.Table.from_pylist(rates, schema=book.rates([]).schema))
    calls = _select("whatif_calls").replace("{before}", cost_sql("lake.calls", basis))
    text = read_sql("whatif").replace("{after}", priced_sql(f"({calls})", "whatif_rates", basis))
    asked = {"model": model, "as": as_model, "tier": tier, "first_date": days[0], "last_date": days[1]}
    rows: list[Row] = cursor.sql(text, params=asked).to_arrow_table().to_pylist()
    return rows


def has_price(book: PriceBook, as_model: str) -> bool:
    """Does the book know what this model costs?"""
    return bool(book.rates_of(_named(book, as_model)))


def _named(book: PriceBook, as_model: str) -> ModelKey:
    """The names under which the book has a model that a person calls NAME or PROVIDER/NAME: where no provider is
    stated whoever lists it first, as surely as if that one were stated."""
    provider, _, name = as_model.rpartition("/")
    for asked in ((provider or None, name), (None, as_model)):
        found = book.resolve(*asked)
        if found is not None:
            own = book.resolve(found.provider, found.model)
            same = own is not None and own.price_key == found.price_key
            return (found.provider, found.model, None) if same else (*asked, None)
    return (None, as_model, None)


def _comparable(book: PriceBook, key: ModelKey) -> frozenset[tuple[dt.datetime, tuple[Any, ...]]]:
    return frozenset(
        (row["valid_from"], tuple(value for name, value in row.items() if name not in _RATES_ASIDE))
        for row in book.rates_of(key)
    )


def _select(name: str) -> str:
    """A shipped text without its comment, so that it stands inside another one."""
    return "\n".join(line for line in read_sql(name).splitlines() if not line.startswith("--"))
