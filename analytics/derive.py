"""What follows from new spans: suppressed candidates, continuation links, rollup deltas. Written in the same commit.

Everything here is a function of the stored spans and contexts. Only the traces and histories that a commit touches are
looked at again; what changed for older calls becomes negative and positive rollup rows, so that the sums stay exact.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl
import pyarrow as pa

from spanfold.analytics.continuation import Continuations, Turn
from spanfold.analytics.suppression import FILLED, Decision, decide
from spanfold.analytics.trace_window import Lookup, TraceWindow
from spanfold.semconv.schema import LINKS, SPANS, SUPPRESSED

_TREE = ("tenant", "trace_id", "span_id", "parent_span_id", "scope_name", "start_time", "duration_ns",
         "is_candidate", "is_container")  # fmt: skip
_ROLLED = ("project", "service_name", "environment", "operation", "key_label", "status")
COLUMNS = ("date", *_TREE, *_ROLLED, *FILLED)  # what is read of a span
STATE = ("has_content", "reason", "merged_into", "fills")  # what was decided before


_NO_SPANS = pa.Table.from_batches([], SPANS.append(pa.field("date", pa.date32())))  # empty_table() imports pandas


@dataclass(slots=True)
class Derived:
    """Rows of one commit: table -> day -> rows."""

    tables: dict[str, dict[dt.date, pa.Table]] = field(default_factory=lambda: defaultdict(dict))
    calls: int = 0  # change of the number of calls
    signed: pa.Table | None = None  # calls that begin (`sign` +1) or cease (-1) to count, for the rollup


class Deriver:
    """Holds the recent traces and turns of all tenants."""

    def __init__(self, lookup: Lookup, *, turns: int = 100_000) -> None:
        self._window = TraceWindow(lookup)
        self._continuations = Continuations(turns)

    def update(
        self,
        spans: pa.Table | None,
        contexts: Iterable[Mapping[str, Any]],
        stored_before: set[tuple[str, str]],
        version: int,
    ) -> Derived:
        """`spans`: new rows with a `date` column; `contexts`: their context rows (with `date`); `stored_before`:
        (tenant, trace_id) of those traces that held spans before; `version`: the manifest that will hold the result."""
        derived = Derived()
        rows = list(contexts)
        with_content = {(r["tenant"], r["trace_id"], r["span_id"]) for r in rows}
        fresh = _frame(_NO_SPANS if spans is None else spans, with_content)
        touching = fresh.filter(pl.col("is_candidate")).select("tenant", "trace_id").unique()
        if stored_before:  # an old trace may hold candidates whose parents come only now
            late = pl.DataFrame(sorted(stored_before), schema=["tenant", "trace_id"], orient="row")
            touching = pl.concat([touching, late]).unique()
        if len(touching):
            self._suppress(fresh, touching, stored_before, with_content, version, derived)
        self._link(fresh, rows, version, derived)
        return derived

    def _suppress(
        self, fresh: pl.DataFrame, touching: pl.DataFrame, stored_before: set[tuple[str, str]],
        with_content: set[tuple[str, str, str]], version: int, derived: Derived,
    ) -> None:  # fmt: skip
        fresh = fresh.join(touching, on=["tenant", "trace_id"], how="semi")
        before = self._window.touch(fresh, stored_before)
        known = len(before)
        whole = pl.concat([before, fresh]) if known else fresh
        decisions = decide(whole)
        after = whole.with_columns(_decided(len(whole), decisions))
        self._window.keep(after, stored_before)
        changed = _changed(whole, after, known)
        if len(changed):
            self._write_suppressed(after, changed, version, derived)
        signed = _signed_calls(whole, after, known, changed)
        derived.calls = int(signed["sign"].sum() or 0)
        derived.signed = signed.to_arrow()

    def _write_suppressed(self, after: pl.DataFrame, changed: list[int], version: int, derived: Derived) -> None:
        rows = after[changed].with_columns(revision=pl.lit(version, pl.Int64))
        for (day,), part in rows.group_by("date"):
            derived.tables["suppressed"][day] = part.select(SUPPRESSED.names).to_arrow().cast(SUPPRESSED)

    def _link(self, fresh: pl.DataFrame, contexts: list[Mapping[str, Any]], version: int, derived: Derived) -> None:
        if not contexts:
            return
        calls = fresh.filter(pl.col("is_candidate") & pl.col("has_content")).iter_rows(named=True)
        spans = {(r["tenant"], r["trace_id"], r["span_id"]): r for r in calls}
        turns: dict[tuple[str, str, str], Turn] = {}
        for row in contexts:
            identity = (row["tenant"], row["trace_id"], row["span_id"])
            turn = turns.get(identity) or self._turn(identity, spans)
            if turn is None:
                continue
            turns[identity] = turn
            keys = (row["answer_key"], row["answer_gram"])
            if row["direction"] == "output":
                turn.said = keys
            else:
                turn.heard, turn.heard_position = keys, row["answer_position"]
        by_day: dict[dt.date, list[dict[str, Any]]] = defaultdict(list)
        for turn in self._continuations.update(turns.values()):
            by_day[turn.date].append(_link_row(turn, version))
        for day, rows in by_day.items():
            derived.tables["links"][day] = pa.Table.from_pylist(rows, schema=LINKS)

    def _turn(self, identity: tuple[str, str, str], spans: Mapping[tuple[str, str, str], Any]) -> Turn | None:
        """A new turn, or a copy of the known one that a later revision changes; None for what is not a call."""
        known, row = self._continuations.get(identity), spans.get(identity)
        if row is not None:
            end = row["start_time"] + dt.timedelta(microseconds=max(0, row["duration_ns"]) // 1000)
            return Turn(
                *identity, date=row["date"], start=row["start_time"], end=end,
                stated=row["conversation_id"] or row["session_id"], user=row["user_id"], service=row["service_name"],
            )  # fmt: skip
        if known is None:
            return None
        return Turn(
            *identity, date=known.date, start=known.start, end=known.end, stated=known.stated, user=known.user,
            service=known.service, said=known.said, heard=known.heard, heard_position=known.heard_position,
        )  # fmt: skip


def _frame(spans: pa.Table, with_content: set[tuple[str, str, str]]) -> pl.DataFrame:
    frame = pl.from_arrow(spans.select(COLUMNS))
    assert isinstance(frame, pl.DataFrame)
    undecided = [pl.lit(None, pl.String).alias(name) for name in ("reason", "merged_into", "fills")]
    if not with_content:
        return frame.with_columns(pl.lit(False).alias("has_content"), *undecided)
    content = pl.DataFrame(sorted(with_content), schema=_identity_schema(), orient="row")
    keys = list(_identity_schema())
    return frame.join(
        content.with_columns(has_content=pl.lit(True)), on=keys, how="left", maintain_order="left"
    ).with_columns(pl.col("has_content").fill_null(False), *undecided)


def _identity_schema() -> dict[str, Any]:
    return {"tenant": pl.String, "trace_id": pl.String, "span_id": pl.String}


def _decided(count: int, decisions: Mapping[int, Decision]) -> list[pl.Series]:
    reason: list[str | None] = [None] * count
    merged, fills = list(reason), list(reason)
    for row, decision in decisions.items():
        reason[row], merged[row] = decision.reason, decision.merged_into
        fills[row] = orjson.dumps(dict(decision.fills)).decode() if decision.fills else None
    return [
        pl.Series(name, values, pl.String)
        for name, values in (("reason", reason), ("merged_into", merged), ("fills", fills))
    ]


def _changed(whole: pl.DataFrame, after: pl.DataFrame, known: int) -> list[int]:
    """Rows whose decision differs from what was stored (for a new row: from "it is a call as it stands")."""
    differs = pl.Series([False] * len(whole), dtype=pl.Boolean)
    for name in ("reason", "merged_into", "fills"):
        differs = differs | whole[name].ne_missing(after[name])
    return differs.arg_true().to_list()


def _signed_calls(whole: pl.DataFrame, after: pl.DataFrame, known: int, changed: list[int]) -> pl.DataFrame:
    """Calls that begin to count (+1) and calls that no longer count as they did (-1)."""
    touched = sorted({*changed, *range(known, len(after))})
    plus = after[touched].filter(pl.col("is_candidate") & pl.col("reason").is_null())
    old = [row for row in changed if row < known]
    minus = whole[old].filter(pl.col("is_candidate") & pl.col("reason").is_null())
    parts = [_filled(frame).with_columns(sign=pl.lit(sign, pl.Int64)) for frame, sign in ((plus, 1), (minus, -1))]
    return pl.concat(parts)


def _filled(frame: pl.DataFrame) -> pl.DataFrame:
    """Calls with what they took from their twins."""
    some = frame.filter(pl.col("fills").is_not_null())
    if not len(some):
        return frame
    rows = [row | orjson.loads(row["fills"]) for row in some.iter_rows(named=True)]
    return pl.concat([frame.filter(pl.col("fills").is_null()), pl.DataFrame(rows, schema=frame.schema)])


def _link_row(turn: Turn, version: int) -> dict[str, Any]:
    before = turn.before
    return {
        "tenant": turn.tenant, "trace_id": turn.trace_id, "span_id": turn.span_id, "revision": version,
        "continues_trace_id": before.trace_id if before else None,
        "continues_span_id": before.span_id if before else None, "root": turn.root(),
        "shared_messages": turn.heard_position + 1 if before and turn.heard_position is not None else None,
    }  # fmt: skip
