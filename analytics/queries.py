"""The read surface: dashboard, API and command line read through `Reader` and nothing else.

`reader.query(name, filters, **params)` runs a shipped text (analytics/sql); `reader.as_sql(...)` gives the same text
with its parameters written out. Words of people and models come from analytics/content.py, and only with the keyring.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from spanfold.analytics import content, sandbox
from spanfold.analytics.errors import ContentWithheld, FileUnreadable
from spanfold.analytics.filters import Filters
from spanfold.analytics.records import call_records, span_record
from spanfold.analytics.snapshots import Opened, Snapshots, Tenants
from spanfold.analytics.statements import PAGED, Query, page_of
from spanfold.analytics.tenancy import tenants_of
from spanfold.analytics.time_limit import Awaited, ended_after
from spanfold.exporter.keys import Keyring

Row = dict[str, Any]


class Reader:
    """Reads the newest snapshot of a data directory. Safe for threads; without a keyring content stays closed."""

    def __init__(
        self, data: Path, keyring: Keyring | None = None, *, threads: int = 2, snapshots: Snapshots | None = None,
        tenants: Tenants = None, content: bool = True, seconds: float | None = None, awaited: Awaited | None = None,
    ) -> None:  # fmt: skip
        """`seconds`: what a named query may take; None = any time. One that is no more `awaited` is stopped."""
        self.data, self._keyring = data, keyring
        self._snapshots = snapshots or Snapshots(data, threads=threads)
        self.tenants, self.content, self._seconds, self._awaited = tenants, content, seconds, awaited

    def within(self, tenants: Tenants, *, content: bool = True) -> Reader:
        """The same, but only these tenants exist (None = all), and with content only if it may be read."""
        return Reader(
            self.data, self._keyring, snapshots=self._snapshots, tenants=tenants, content=content,
            seconds=self._seconds, awaited=self._awaited,
        )  # fmt: skip

    def while_awaited(self, awaited: Awaited) -> Reader:
        """The same, for one who may go away: named queries that are no more awaited raise QueryAbandoned."""
        return Reader(
            self.data, self._keyring, snapshots=self._snapshots, tenants=self.tenants, content=self.content,
            seconds=self._seconds, awaited=awaited,
        )  # fmt: skip

    def all_tenants(self) -> frozenset[str]:
        """Every tenant of the newest snapshot."""
        with self._snapshots.newest(self.tenants).reading() as cursor:
            return tenants_of(cursor)

    @property
    def version(self) -> str:
        """The newest snapshot: part of every cache key. Raises NoSnapshot while nothing was published."""
        return self._snapshots.newest_version()

    @property
    def can_open(self) -> bool:
        """May content be read here?"""
        return self._keyring is not None and self.content

    def view(self) -> View:
        """The newest snapshot, held for several queries that must agree. Raises NoSnapshot."""
        return View(
            self._snapshots.newest(self.tenants), self.data, self._keyring, content=self.content,
            seconds=self._seconds, awaited=self._awaited,
        )  # fmt: skip

    def query(self, name: str, filters: Filters | None = None, **params: Any) -> pa.Table:
        """Rows of a named query (docs/sql.md lists them). Files that are erased or merged while it runs cost a second
        try, on the version that followed."""
        view = self.view()
        try:
            return view.query(name, filters, **params)
        except FileUnreadable:
            if self.version == view.version:
                raise
        return self.view().query(name, filters, **params)

    def as_sql(self, name: str, filters: Filters | None = None, **params: Any) -> str:
        """The text of a named query that a stock DuckDB runs on the published file to the same rows."""
        return self.view().as_sql(name, filters, **params)

    def rows(self, name: str, filters: Filters | None = None, **params: Any) -> list[Row]:
        """`query` as dictionaries: for a few rows."""
        rows: list[Row] = self.query(name, filters, **params).to_pylist()
        return rows

    def sql(self, text: str, *, limit: int | None = None) -> pa.Table:
        """One SELECT of a person, on the views, with no other file in reach. Raises QueryRefused."""
        return sandbox.run(self._snapshots.newest(self.tenants).path, self.data, text, limit=limit)

    def call_records(self, where: str | None = None, *, content: bool = False) -> Iterator[Row]:
        """Call records (design.md section 3) in order of time. `where` is a condition on the columns of `calls`."""
        return self.view().call_records(where, content=content)

    def trace(self, trace_id: str, *, content: bool = False) -> Row | None:
        """One trace: its row, spans, calls, logs, review trail and, with `content`, messages. None if unknown."""
        return self.view().trace(trace_id, content=content)

    def span(self, span_id: str, *, trace_id: str | None = None, content: bool = False) -> Row | None:
        """Everything kept of one span. None if unknown."""
        return self.view().span(span_id, trace_id=trace_id, content=content)

    def private(self, rows: Sequence[Row]) -> list[Row]:
        """The private JSON of rows of `spans` or `logs` (their private_* columns), {} where there is none."""
        return self.view().private(rows)


class View:
    """One version of everything."""

    def __init__(
        self, opened: Opened, data: Path, keyring: Keyring | None, *, content: bool = True,
        seconds: float | None = None, awaited: Awaited | None = None,
    ) -> None:  # fmt: skip
        self.version, self._seconds, self._awaited = opened.version, seconds, awaited
        self._opened, self._data, self._keyring, self._content = opened, data, keyring, content

    def query(self, name: str, filters: Filters | None = None, **params: Any) -> pa.Table:
        return self._run(self._prepare(name, filters, params))

    def as_sql(self, name: str, filters: Filters | None = None, **params: Any) -> str:
        return self._prepare(name, filters, params).as_sql()

    def _prepare(self, name: str, filters: Filters | None, params: dict[str, Any]) -> Query:
        """A paged query gets the keys of its page first; both read this version."""
        if name in PAGED and "trace_ids" not in params:
            keys, limit = PAGED[name]
            asked = params | ({"limit": limit} if limit else {})
            params = params | page_of(self._run(Query(keys, filters, **asked)))
        return Query(name, filters, **params)

    def _run(self, query: Query) -> pa.Table:
        with self._asking() as cursor:
            return cursor.sql(query.text, params=query.parameters or None).to_arrow_table()

    @contextmanager
    def _asking(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor for one question. Raises QueryTooSlow, QueryAbandoned, DatabaseFailed, FileUnreadable."""
        with self._opened.reading() as cursor, ended_after(cursor, self._seconds, self._awaited):
            yield cursor

    def _may_open(self, wanted: bool) -> None:
        if wanted and not self._content:
            raise ContentWithheld(ContentWithheld.__doc__)

    def call_records(self, where: str | None = None, *, content: bool = False) -> Iterator[Row]:
        self._may_open(content)
        return call_records(self._opened, self._data, self._keyring, where, content=content, awaited=self._awaited)

    def messages(self, spans: Sequence[tuple[dt.date, str, str, str]], *, words: bool) -> list[content.Context]:
        """What spans (date, tenant, trace_id, span_id) were given and gave, message by message."""
        self._may_open(words)
        with self._asking() as cursor:
            return content.contexts(cursor, self._keyring, spans, words=words)

    def trace(self, trace_id: str, *, content: bool = False) -> Row | None:
        found = self.query("trace_row", trace_id=trace_id).to_pylist()
        if not found:
            return None
        spans = self.query("trace_spans", trace_id=trace_id).to_pylist()
        logs = self.query("trace_logs", trace_id=trace_id).to_pylist()
        trace: Row = found[0] | {
            "spans": spans, "call_rows": self.query("trace_calls", trace_id=trace_id).to_pylist(), "logs": logs,
            "review_events": self.query("review_trail", trace_id=trace_id).to_pylist(),
        }  # fmt: skip
        if content:
            keys = [(s["date"], s["tenant"], s["trace_id"], s["span_id"]) for s in spans]
            trace["contexts"] = [context.as_dict() for context in self.messages(keys, words=True)]
            for log, private in zip(logs, self.private(logs), strict=True):
                log["private"] = private
        return trace

    def span(self, span_id: str, *, trace_id: str | None = None, content: bool = False) -> Row | None:
        return span_record(self, span_id, trace_id, content=content)

    def private(self, rows: Sequence[Row]) -> list[Row]:
        self._may_open(wanted=True)
        with self._asking() as cursor:
            return content.private(cursor, self._keyring, rows)
