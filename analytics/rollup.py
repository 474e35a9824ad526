"""Rollup deltas: signed calls in, hourly rows out. Priced by the same SQL that every screen uses."""

from __future__ import annotations

import datetime as dt
from functools import cache

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from spanfold.analytics.prices import PriceBook
from spanfold.analytics.views import cost_sql, read_sql
from spanfold.semconv.schema import LATENCY_BUCKETS, ROLLUP, USAGE_COLUMNS

ModelKey = tuple[str | None, str | None, str | None]


class RollUp:
    """Prices and sums. Remembers the models it has seen, because their price rows are matched once."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._models: set[ModelKey] = set()
        self.seen: set[ModelKey] = set()  # by this process, under any book: the snapshot has to know them
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        self._connection.execute("CREATE SCHEMA book")
        self._sql = statement()

    def __call__(self, signed: pa.Table) -> dict[dt.date, pa.Table]:
        """`signed`: calls with `date` and `sign` (+1 begins to count, -1 ceases). Rollup rows by day."""
        if not signed.num_rows:
            return {}
        self._learn(signed)
        self._connection.register("signed_calls", signed)
        self._connection.execute(self._sql)
        rows = self._connection.sql("FROM rolled").to_arrow_table()
        self._connection.unregister("signed_calls")
        out = {}
        for day in pc.unique(rows["date"]).to_pylist():
            part = rows.filter(pc.equal(rows["date"], day))
            out[day] = part.select(ROLLUP.names).cast(ROLLUP)
        return out

    def price_by(self, book: PriceBook) -> None:
        """From now on this book prices; models are matched again when they are seen."""
        self._book = book
        self._models = set()

    def _learn(self, calls: pa.Table) -> None:
        names = calls.select(["provider", "request_model", "response_model"])
        distinct = names.group_by(names.column_names).aggregate([]).to_pylist()
        fresh = {(r["provider"], r["request_model"], r["response_model"]) for r in distinct} - self._models
        if fresh:
            self._models |= fresh
            self.seen |= fresh
            rates = self._book.rates(self._models)
            self._connection.register("rates", rates)
            self._connection.execute("CREATE OR REPLACE TABLE book.rates AS FROM rates")
            self._connection.unregister("rates")


@cache
def statement() -> str:
    """Prices and sums the relation `signed_calls` into the table `rolled`: all the arithmetic of a rollup row."""
    sums = ",\n    ".join(f"sum(sign * {name})::BIGINT AS {name}" for name in USAGE_COLUMNS)
    counts = ",\n    ".join(
        f"sum(CASE bucket WHEN {i} THEN sign END)::BIGINT AS latency_{i}"  # planned twice as fast as FILTER
        for i in range(LATENCY_BUCKETS)
    )
    text = read_sql("rollup_delta").replace("{usage_sums}", sums).replace("{latency_counts}", counts)
    text = text.replace("{last_bucket}", str(LATENCY_BUCKETS - 1))
    text = text.replace("{priced}", cost_sql("signed_calls"))
    return f"CREATE OR REPLACE TEMP TABLE rolled AS {text}"  # a long statement given to `sql` would be bound twice
