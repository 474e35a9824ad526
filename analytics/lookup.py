"""Looks stored spans up by trace, for the few that a late span or log record concerns. Reads the lake itself."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from spanfold.analytics.derive import COLUMNS, with_facts
from spanfold.analytics.stored import Columns, select
from spanfold.exporter.identity import ANY_HOUR
from spanfold.exporter.lake import EPOCH_DAY
from spanfold.exporter.manifest import FileEntry, Manifest
from spanfold.semconv.schema import FACTS

Traces = Sequence[tuple[str, str]]  # tenant, trace_id
WithoutDamaged = Callable[[], Manifest | None]  # asked when a file cannot be read; None: no file is to blame
Hours = Callable[[Traces], set[int]]  # the hours since 1970 that their spans start in (`IdentityRuns.hours`)


_PLACE = ["tenant", "trace_id", "span_id", "start_time", "conversation_id", "session_id", "service_name"]


class StoredSpans:
    """Spans of the newest manifest by trace id. One connection, used by one thread.

    Only files of the days, and row groups of the hours, that hold spans of these traces are read.
    """

    def __init__(self, data: Path, hours: Hours, without_damaged: WithoutDamaged = lambda: None) -> None:
        self._hours, self._without_damaged, self._columns = hours, without_damaged, Columns(data)
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        self.manifest = Manifest(version=0)
        self.rows_read = 0  # rows that came back, for the proof that work follows what arrived

    def traces(self, traces: Traces) -> pl.DataFrame:
        """Whole traces in the columns of `derive.COLUMNS`, what was stated of them and what was decided about them."""
        spans = self._find("spans", [c for c in COLUMNS if c != "date"], traces)
        decided = self._find(
            "suppressed", ["tenant", "trace_id", "span_id", "revision", "reason", "merged_into", "fills"], traces
        )
        held = self._find("contexts", ["tenant", "trace_id", "span_id"], traces)
        stated = self._find("facts", FACTS.names, traces)
        keys = ["tenant", "trace_id", "span_id"]
        spans = with_facts(spans.with_columns(is_fact=pl.lit(False)), stated)
        latest = decided.sort("revision").unique(keys, keep="last").drop("revision", "date")
        content = held.select(keys).unique().with_columns(has_content=pl.lit(True))
        return (
            spans.join(content, on=keys, how="left")
            .with_columns(pl.col("has_content").fill_null(False))
            .join(latest, on=keys, how="left")
        )

    def places(self, keys: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], dict[str, Any]]:
        """What is known of these stored spans: date, start_time, conversation_id, session_id, service_name."""
        found = self._find("spans", _PLACE, sorted({(tenant, trace) for tenant, trace, _ in keys}))
        wanted = set(keys)
        out = {}
        for row in found.iter_rows(named=True):
            key = (row["tenant"], row["trace_id"], row["span_id"])
            if key in wanted:
                out[key] = row
        return out

    def calls_of_turns(self, traces: Traces) -> list[dict[str, Any]]:
        """The stored calls of these traces with what is known of them: the columns of `places`, parent_span_id, and
        `says`: the sides that they say themselves (not: what a turn gave them)."""
        columns = [*_PLACE, "parent_span_id", "is_candidate", "is_container"]
        calls = self._find("spans", columns, traces).filter(pl.col("is_candidate") & ~pl.col("is_container"))
        if not len(calls):
            return []
        said = self._find("contexts", ["tenant", "trace_id", "span_id", "direction", "source"], traces)
        own = said.filter(pl.col("source") != "turn").group_by("tenant", "trace_id", "span_id").agg(says="direction")
        rows = calls.join(own, on=["tenant", "trace_id", "span_id"], how="left").iter_rows(named=True)
        return [row | {"says": row["says"] or []} for row in rows]

    def sharing(self, calls: pa.Table, days: Sequence[dt.date]) -> set[tuple[str, str]]:
        """(tenant, trace_id) of spans of these days that hold a response id of these calls (tenant, response_id)."""
        wanted = {day.isoformat() for day in days}
        self._columns.met(self.manifest)
        files = [file for file in self.manifest.files_of("spans") if file.date in wanted]
        source = select("spans", self._columns.groups("spans", files), ["tenant", "trace_id", "response_id"])
        self._connection.register("wanted", calls.filter(pc.is_valid(calls["response_id"])))
        sql = f"SELECT DISTINCT tenant, trace_id FROM ({source}) SEMI JOIN wanted USING (tenant, response_id)"
        found = self._connection.sql(sql).fetchall()
        self._connection.unregister("wanted")
        return {(tenant, trace) for tenant, trace in found}

    def _find(self, table: str, columns: list[str], traces: Traces) -> pl.DataFrame:
        try:
            return self._read(table, columns, traces)
        except duckdb.Error:
            manifest = self._without_damaged()
            if manifest is None:
                raise
            self.manifest = manifest
            self._connection = duckdb.connect(":memory:", config={"threads": 1})  # the other one may be given up
            return self._read(table, columns, traces)

    def _read(self, table: str, columns: list[str], traces: Traces) -> pl.DataFrame:
        hours = self._hours(traces)
        self._columns.met(self.manifest)
        source = select(table, self._columns.groups(table, self._files(table, hours)), columns)
        wanted = pa.table({"tenant": [t for t, _ in traces], "trace_id": [i for _, i in traces]})
        self._connection.register("wanted", wanted)
        condition = _within(hours) if table == "spans" else "true"
        sql = f"SELECT * FROM ({source}) SEMI JOIN wanted USING (tenant, trace_id) WHERE {condition}"
        found = self._connection.sql(sql).to_arrow_table()
        self._connection.unregister("wanted")
        self.rows_read += found.num_rows
        frame = pl.from_arrow(found)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _files(self, table: str, hours: set[int]) -> list[FileEntry]:
        """Files of the days of these hours; contexts and facts also beside them, where log records lie."""
        if ANY_HOUR in hours:
            return self.manifest.of_table(table)
        around = (-1, 0, 1) if table in ("contexts", "facts") else (0,)
        days = {(EPOCH_DAY + dt.timedelta(days=hour // 24 + more)).isoformat() for hour in hours for more in around}
        return [file for file in self.manifest.files_of(table) if file.date in days]


def _within(hours: Iterable[int]) -> str:
    """A condition on `start_time` that row groups are left out by. No hour: none of these traces is stored."""
    chosen = sorted(hours)
    if not chosen:
        return "false"
    if ANY_HOUR in chosen:
        return "true"
    starts = [hour for hour in chosen if hour - 1 not in chosen]
    ends = [hour + 1 for hour in chosen if hour + 1 not in chosen]
    ranges = zip(starts, ends, strict=True)
    return " OR ".join(f"start_time >= {_literal(start)} AND start_time < {_literal(end)}" for start, end in ranges)


def _literal(hour: int) -> str:
    return f"TIMESTAMP '{dt.datetime(1970, 1, 1) + dt.timedelta(hours=hour)}'"
