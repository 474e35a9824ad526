"""The recent spans, by trace: what a commit's traces looked like before it, without reading the day.

Two generations in memory; a trace that is older is read from the lake by its id. So work is proportional to what
arrived (rule 11), and a late span still meets the whole of its trace.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

Lookup = Callable[[list[tuple[str, str]]], pl.DataFrame]  # (tenant, trace_id) pairs -> their stored spans

_TRACE = ["tenant", "trace_id"]


class TraceWindow:
    """Rows of recent traces, in the schema of the frames given to `touch`."""

    def __init__(self, lookup: Lookup, limit: int = 120_000) -> None:
        self._lookup, self._limit = lookup, limit
        self._young: pl.DataFrame | None = None
        self._old: pl.DataFrame | None = None

    def touch(self, fresh: pl.DataFrame, stored_before: set[tuple[str, str]]) -> pl.DataFrame:
        """The earlier rows of the traces in `fresh`. `stored_before`: those of them that the lake knew already; no
        other trace can be here."""
        if not stored_before:
            return fresh.clear()
        traces = _pairs(stored_before)
        parts = [_of(frame, traces) for frame in (self._young, self._old) if frame is not None]
        have = pl.concat([part.select(_TRACE) for part in parts] or [traces.clear()]).unique()
        missing = stored_before - set(have.rows())
        if missing:
            parts.append(self._lookup(sorted(missing)).select(fresh.columns))
        return pl.concat(parts).unique([*_TRACE, "span_id"], keep="first")

    def keep(self, rows: pl.DataFrame, stored_before: set[tuple[str, str]]) -> None:
        """Remembers the present rows of whole traces; earlier versions of them are replaced."""
        if stored_before:
            traces = _pairs(stored_before)
            self._young, self._old = (
                None if frame is None else frame.join(traces, on=_TRACE, how="anti")
                for frame in (self._young, self._old)
            )
        self._young = rows if self._young is None else pl.concat([self._young, rows], rechunk=False)
        if len(self._young) > self._limit:
            self._old, self._young = self._young, None


def _pairs(traces: set[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(sorted(traces), schema=dict.fromkeys(_TRACE, pl.String), orient="row")


def _of(frame: pl.DataFrame, traces: pl.DataFrame) -> pl.DataFrame:
    return frame.join(traces, on=_TRACE, how="semi")
