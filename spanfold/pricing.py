"""The price book of a data directory, made of what the control plane holds; and rollups that follow a changed book."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import duckdb
import pyarrow as pa

from spanfold.analytics import price_editions, rollup
from spanfold.analytics.price_preview import changed_models, register_models
from spanfold.analytics.prices import PriceBook, Sources
from spanfold.analytics.rollup import RollUp
from spanfold.analytics.views import USAGE_COLUMNS, fill, read_sql
from spanfold.exporter.compact import sum_rollup
from spanfold.state.price_sources import KeptBook
from spanfold.state.store import StateStore


def sources(state: StateStore) -> Sources:
    """Everything that decides prices here."""
    held = state.price_sources
    return Sources(stated=state.prices.rows(), aliases=held.aliases(), kept=held.books(), rates=held.rates())


def load_book(state: StateStore) -> PriceBook:
    """The price book in force."""
    return PriceBook.load(sources=sources(state))


def keep_first_book(state: StateStore) -> None:
    """Keeps the installed price list where none is kept: from now on an upgrade of the package changes no cost."""
    if not state.price_sources.books():
        state.price_sources.keep_book(installed_book(), who="spanfold")


def installed_book() -> KeptBook:
    """The price list of the installed package, to be kept."""
    edition = price_editions.installed()
    return KeptBook(source=edition.source, digest=edition.digest, data=price_editions.installed_data())


def name_of(book: PriceBook) -> str:
    """Names a book and the arithmetic over it: rollups that carry this name need not be computed again."""
    arithmetic = blake2b(rollup.statement().encode(), digest_size=4).hexdigest()
    return f"{book.version}/{arithmetic}"


def all_rollups(snapshot: Path, days: list[str], book: PriceBook) -> Iterator[tuple[dt.date, pa.Table]]:
    """Every rollup row of these days, from the stored calls."""
    roll_up = RollUp(book)
    with duckdb.connect(str(snapshot), read_only=True) as connection:
        for day in days:
            calls = connection.sql(_statement("rollup_calls"), params={"day": day}).to_arrow_table()
            yield from roll_up(calls).items()


def rollup_changes(snapshot: Path, old: PriceBook, new: PriceBook) -> Iterator[tuple[dt.date, pa.Table]]:
    """What has to be added to rollups that were priced by `old` so that they are priced by `new`: rows by day, of the
    models and days whose rates differ."""
    before, after = RollUp(old), RollUp(new)
    with duckdb.connect(str(snapshot), read_only=True) as connection:
        changed, since = changed_models(connection, old, new)
        if not changed:
            return
        register_models(connection, changed)
        text = _statement("rollup_repriced")
        days = connection.sql(read_sql("rollup_days"), params={"since": since}).fetchall()
        for (day,) in days:
            calls = connection.sql(text, params={"day": day}).to_arrow_table()
            minus = calls.set_column(calls.column_names.index("sign"), "sign", pa.array([-1] * len(calls), pa.int64()))
            parts = {date: [rows] for date, rows in after(calls).items()}
            for date, rows in before(minus).items():
                parts[date].append(rows)
            for date, tables in parts.items():
                rows = sum_rollup(pa.concat_tables(tables))
                if rows.num_rows:
                    yield date, rows


def _statement(name: str) -> str:
    calls = "\n".join(line for line in read_sql("rollup_calls").splitlines() if not line.startswith("--"))
    return fill(read_sql(name), {"rollup_calls": calls, "usage_names": ", ".join(USAGE_COLUMNS)})
