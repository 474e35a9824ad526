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
from spanfold.analytics.response_ids import ResponseIds
from spanfold.analytics.suppression import Decision, decide
from spanfold.analytics.trace_window import Lookup, TraceWindow
from spanfold.semconv.schema import FACT_COLUMNS, LINKS, SPANS, SUPPRESSED

_TREE = ("tenant", "trace_id", "span_id", "parent_span_id", "scope_name", "start_time", "duration_ns",
         "is_candidate", "is_container")  # fmt: skip
_ROLLED = ("project", "service_name", "environment", "operation", "key_label", "status")
_SAID = ("date", "start_time", "duration_ns", "conversation_id", "session_id", "user_id", "service_name")  # of a turn
COLUMNS = ("date", *_TREE, *_ROLLED, *FACT_COLUMNS)  # what is read of a span
STATE = ("is_fact", "has_content", "reason", "merged_into", "fills")  # what was decided before


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
        self._response_ids = ResponseIds()

    def recall(self, turns: Iterable[tuple[Turn, tuple[str, str] | None]]) -> None:
        """Takes the turns that were stored before this process began."""
        self._continuations.recall(turns)

    def update(
        self,
        spans: pa.Table | None,
        contexts: Iterable[Mapping[str, Any]],
        stored_before: set[tuple[str, str]],
        version: int,
        *,
        facts: pa.Table | None = None,
    ) -> Derived:
        """`spans`: new rows with a `date` column; `contexts`: new context rows (with `date`); `facts`: new rows of
        `facts` (with `date`); `stored_before`: (tenant, trace_id) of the traces of `spans` that held rows before;
        `version`: the manifest that will hold the result."""
        derived = Derived()
        rows = list(contexts)
        with_content = {(r["tenant"], r["trace_id"], r["span_id"]) for r in rows}
        fresh = _frame(_NO_SPANS if spans is None else spans)
        asked = fresh.lazy().filter(pl.col("is_candidate"))
        calls = asked.select("tenant", "trace_id", "response_id", "start_time").collect()
        self._response_ids.learn(calls)
        touching = calls.select("tenant", "trace_id").unique()
        old = stored_before | _late(rows, fresh)
        if facts is not None:
            fresh = with_facts(fresh, pl.DataFrame(facts))
            old |= set(zip(facts["tenant"].to_pylist(), facts["trace_id"].to_pylist(), strict=True))
        old |= self._response_ids.partners(touching, old)
        if old:  # an old trace may hold candidates whose parents, words or facts come only now
            late = pl.DataFrame(sorted(old), schema=["tenant", "trace_id"], orient="row")
            touching = pl.concat([touching, late]).unique()
        whole = fresh.clear()
        if len(touching):
            whole = self._suppress(fresh, touching, old, with_content, version, derived)
        self._link(whole, rows, version, derived)
        return derived

    def revise(
        self, before: pl.DataFrame, spans: pa.Table, contexts: Iterable[Mapping[str, Any]], version: int,
        *, facts: pa.Table,
    ) -> Derived:  # fmt: skip
        """What follows where rows take the place of stored ones. `before`: the whole traces as they are stored, with
        what was decided (`StoredSpans.traces`); `spans`: the rows in their new form, with `date`; `contexts`: context
        rows of these spans, stored or new; `facts`: rows of `facts` that are new or take the place of others."""
        derived, rows, keys = Derived(), list(contexts), list(_identity_schema())
        fresh = with_facts(_frame(spans), pl.DataFrame(facts))
        before, decided = before.select(fresh.columns), [name for name in STATE if name != "is_fact"]
        was = before.select(*keys, *decided).filter(~before["is_fact"])
        fresh = fresh.drop(decided).join(was, on=keys, how="left", maintain_order="left").select(before.columns)
        fresh = fresh.with_columns(pl.col("has_content").fill_null(False))
        whole = pl.concat([before.join(fresh, on=keys, how="anti"), fresh])
        whole = _spoken(whole, {(row["tenant"], row["trace_id"], row["span_id"]) for row in rows})
        after = whole.with_columns(_decided(len(whole), decide(whole)))
        changed = _changed(whole, after, 0)
        if changed:
            self._write_suppressed(after, changed, version, derived)
        touched = after[sorted({*changed, *range(len(after) - len(fresh), len(after))})]
        counted = pl.col("is_candidate") & pl.col("reason").is_null()
        ended = before.join(touched.select(keys), on=keys, how="semi").filter(counted)
        signed = [
            _filled(frame).with_columns(sign=pl.lit(sign, pl.Int64))
            for frame, sign in ((touched.filter(counted), 1), (ended, -1))
        ]
        derived.signed = pl.concat(signed).to_arrow()
        derived.calls = len(signed[0]) - len(signed[1])
        self._link(after, rows, version, derived)
        return derived

    def _suppress(
        self, fresh: pl.DataFrame, touching: pl.DataFrame, old: set[tuple[str, str]],
        with_content: set[tuple[str, str, str]], version: int, derived: Derived,
    ) -> pl.DataFrame:  # fmt: skip
        """Decides again; gives the whole traces as they are now."""
        fresh = fresh.join(touching, on=["tenant", "trace_id"], how="semi")
        before = self._window.touch(fresh, old)
        known = len(before)
        whole = _spoken(pl.concat([before, fresh]) if known else fresh, with_content)
        decisions = decide(whole)
        after = whole.with_columns(_decided(len(whole), decisions))
        self._window.keep(after, old)
        changed = _changed(whole, after, known)
        if len(changed):
            self._write_suppressed(after, changed, version, derived)
        signed = _signed_calls(whole, after, known, changed)
        derived.calls = int(signed["sign"].sum() or 0)
        derived.signed = signed.to_arrow()
        return after

    def _write_suppressed(self, after: pl.DataFrame, changed: list[int], version: int, derived: Derived) -> None:
        rows = after[changed].with_columns(revision=pl.lit(version, pl.Int64))
        for (day,), part in rows.group_by("date"):
            derived.tables["suppressed"][day] = part.select(SUPPRESSED.names).to_arrow().cast(SUPPRESSED)

    def _link(self, whole: pl.DataFrame, contexts: list[Mapping[str, Any]], version: int, derived: Derived) -> None:
        if not contexts:
            return
        told = {row["trace_id"] for row in contexts}
        spoken = pl.col("is_candidate") & pl.col("has_content") & pl.col("trace_id").is_in(list(told))
        calls = whole.lazy().filter(spoken).select(*_identity_schema(), *_SAID).collect()
        spans = {row[:3]: row[3:] for row in calls.rows()}
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
            day, start, duration_ns, conversation, session, user, service = row
            end = start + dt.timedelta(microseconds=max(0, duration_ns) // 1000)
            return Turn(
                *identity, date=day, start=start, end=end, stated=conversation or session, user=user, service=service
            )
        if known is None:
            return None
        return Turn(
            *identity, date=known.date, start=known.start, end=known.end, stated=known.stated, user=known.user,
            service=known.service, said=known.said, heard=known.heard, heard_position=known.heard_position,
        )  # fmt: skip


def _frame(spans: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(spans.select(COLUMNS))
    assert isinstance(frame, pl.DataFrame)
    undecided = [pl.lit(None, pl.String).alias(name) for name in ("reason", "merged_into", "fills")]
    return frame.with_columns(pl.lit(False).alias("is_fact"), pl.lit(False).alias("has_content"), *undecided)


def with_facts(spans: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """The spans, and below each span a row for every fact recorded at it: no span, no candidate, but what it states
    stands in its columns. `facts` has the columns of `FACTS` and `date`; the highest revision of each counts."""
    if not len(facts):
        return spans
    latest = facts.sort("revision").unique(["tenant", "trace_id", "span_id", "fact_id"], keep="last")
    rows = latest.rename({"span_id": "parent_span_id", "time": "start_time"}).with_columns(
        (pl.col("fact_id") + "@" + pl.col("parent_span_id")).alias("span_id"),
        pl.lit(0, pl.Int64).alias("duration_ns"),
        *(pl.lit(False).alias(name) for name in ("is_candidate", "is_container", "has_content")),
        pl.lit(True).alias("is_fact"),
    )
    rows = rows.with_columns(
        pl.lit(None, spans.schema[name]).alias(name) for name in spans.columns if name not in rows.columns
    )
    return pl.concat([spans, rows.select(pl.col(n).cast(kind) for n, kind in spans.schema.items())])


def _late(contexts: Iterable[Mapping[str, Any]], fresh: pl.DataFrame) -> set[tuple[str, str]]:
    """Traces of words that came apart from their spans."""
    sources = ("log", "turn", "delta", "delta_cut")
    apart = {(row["tenant"], row["trace_id"], row["span_id"]) for row in contexts if row["source"] in sources}
    if apart:
        apart -= set(fresh.select("tenant", "trace_id", "span_id").rows())
    return {(tenant, trace_id) for tenant, trace_id, _ in apart}


def _spoken(frame: pl.DataFrame, with_content: set[tuple[str, str, str]]) -> pl.DataFrame:
    """The frame with `has_content` of the spans whose words are new."""
    if not with_content:
        return frame
    content = pl.DataFrame(sorted(with_content), schema=_identity_schema(), orient="row")
    told = frame.select(_identity_schema().keys()).join(
        content.with_columns(new=pl.lit(True)), on=list(_identity_schema()), how="left", maintain_order="left"
    )["new"]
    return frame.with_columns(has_content=pl.col("has_content") | told.fill_null(False))


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
    old = [row for row in changed if row < known]
    counted = pl.col("is_candidate") & pl.col("reason").is_null()
    plus = pl.concat([after[old], after.slice(known)]).filter(counted)
    minus = whole[old].filter(counted)
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
