"""The recent spans, by trace: what a commit's traces looked like before it, without reading the day.

Two generations in memory; a trace that is older is read from the lake by its id. So work is proportional to what
arrived (rule 11), and a late span still meets the whole of its trace.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

Lookup = Callable[[list[tuple[str, str]]], pl.DataFrame]  # (tenant, trace_id) pairs -> their stored spans


class TraceWindow:
    """Rows of recent traces, in the schema of the frames given to `touch`."""

    def __init__(self, lookup: Lookup, limit: int = 120_000) -> None:
        self._lookup, self._limit = lookup, limit
        self._young: pl.DataFrame | None = None
        self._old: pl.DataFrame | None = None

    def touch(self, fresh: pl.DataFrame, stored_before: set[tuple[str, str]]) -> pl.DataFrame:
        """The earlier rows of the traces in `fresh`. `stored_before`: those of them that the lake knew already."""
        traces = fresh.select("tenant", "trace_id").unique()
        young, old = (_of(frame, traces) for frame in (self._young, self._old))
        have = pl.concat([f.select("tenant", "trace_id") for f in (young, old) if f is not None] or [traces.clear()])
        missing = stored_before - set(have.unique().rows())
        parts = [f for f in (young, old) if f is not None]
        if missing:
            parts.append(self._lookup(sorted(missing)).select(fresh.columns))
        return pl.concat(parts).unique(["tenant", "trace_id", "span_id"], keep="first") if parts else fresh.clear()

    def keep(self, rows: pl.DataFrame) -> None:
        """Remembers the present rows of whole traces; earlier versions of them are replaced."""
        traces = rows.select("tenant", "trace_id").unique()
        keys = ["tenant", "trace_id"]
        if self._old is not None:
            self._old = self._old.join(traces, on=keys, how="anti")
        rest = None if self._young is None else self._young.join(traces, on=keys, how="anti")
        self._young = rows if rest is None else pl.concat([rest, rows], rechunk=False)
        if len(self._young) > self._limit:
            self._old, self._young = self._young, None


def _of(frame: pl.DataFrame | None, traces: pl.DataFrame) -> pl.DataFrame | None:
    return None if frame is None else frame.join(traces, on=["tenant", "trace_id"], how="semi")
