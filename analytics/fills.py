"""What a call takes from others: from its twins, from log records that tell of it, from its trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from spanfold.semconv.schema import FACT_COLUMNS, USAGE_COLUMNS

Index = NDArray[np.int64]
Row = dict[str, Any]

INHERITED = ["session_id", "conversation_id", "user_id"]
_RANKED = ("request_model", "response_model", "response_id", "input_tokens", "output_tokens", "cache_read_tokens",
           "cache_write_tokens", "reasoning_tokens", "ttft_ms", "session_id", "conversation_id")  # fmt: skip
_SIDES = (  # a total and its buckets: they add up only where they come from one source
    ("input_tokens", "uncached_input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens",
     "audio_input_tokens", "image_input_tokens"),
    ("output_tokens", "text_output_tokens", "reasoning_tokens", "audio_output_tokens"),
)  # fmt: skip
_OTHERS = [name for name in FACT_COLUMNS if name not in USAGE_COLUMNS and name != "usage_verdict"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one candidate."""

    reason: str | None  # container | twin | mirror; None = it is a call
    merged_into: str | None  # span_id
    fills: tuple[tuple[str, Any], ...] = ()


def merge(spans: pl.DataFrame, group: list[int], reason: str, out: dict[int, Decision]) -> None:
    """Of a group that is one call the richest stays: content first, then most facts known, then the earliest start."""
    facts = [(row, spans.row(row, named=True)) for row in group]
    facts.sort(
        key=lambda item: (
            not item[1]["has_content"],
            -sum(item[1][name] is not None for name in _RANKED),
            item[1]["start_time"],
            item[1]["span_id"],
        )
    )
    (kept, best), others = facts[0], facts[1:]
    nearer: Row = {}
    for _, other in others:
        nearer |= _nearer(best | nearer, other)
    if nearer:
        held = out[kept].fills if kept in out else ()
        out[kept] = Decision(None, None, tuple((dict(held) | nearer).items()))
    _give(out, kept, best, [other for _, other in others])
    for row, _ in others:
        out[row] = Decision(reason, best["span_id"])


def _nearer(own: Row, other: Row) -> Row:
    """The output side of a twin that lies within this span, where it states another total: it stood nearer to the
    wire. Who adds up the chunks of a stream counts twice what its first and its last chunk both state, as
    opentelemetry-instrumentation-anthropic 0.62 does around the spans of the SDK itself."""
    side = _SIDES[1]
    total = side[0]
    ends = [row["start_time"].timestamp() + row["duration_ns"] / 1e9 for row in (own, other)]
    within = own["start_time"] <= other["start_time"] and ends[1] <= ends[0]
    if not within or own[total] is None or other[total] is None or own[total] == other[total]:
        return {}
    if any(other[name] is None and own[name] is not None for name in side):
        return {}  # buckets that are not replaced would not add up
    return {name: other[name] for name in side if other[name] != own[name]}


def _give(out: dict[int, Decision], row: int, own: Row, others: list[Row]) -> None:
    """Adds to what this call takes."""
    held = out.get(row)
    known = own | dict(held.fills) if held else own
    fills = dict(held.fills) if held else {}
    for other in others:
        taken = taken_from(known, other)
        fills |= taken
        known = known | taken
    if fills:
        out[row] = Decision(None, None, tuple(fills.items()))


def taken_from(own: Row, other: Row) -> Row:
    """The columns that a call takes from another record of the same call: what it lacks; and of a side of its usage
    all or nothing, where it lacks the total, or where the totals are equal and the other knows more of the split."""
    fills = {name: other[name] for name in _OTHERS if own[name] is None and other[name] is not None}
    told, finer = own["response_model"], other["response_model"]
    if told and told == own["request_model"] and finer and finer.startswith(told) and finer != told:
        fills["response_model"] = finer  # one names the alias that was asked for, the other the model that answered
    for side in _SIDES:
        total = side[0]
        if other[total] is None:
            continue
        split = sum(other[n] is not None for n in side) > sum(own[n] is not None for n in side)
        if own[total] is None or (own[total] == other[total] and split):
            fills |= {name: other[name] for name in side if other[name] is not None and other[name] != own[name]}
            if total == "input_tokens" and other["usage_verdict"] and other["usage_verdict"] != own["usage_verdict"]:
                fills["usage_verdict"] = other["usage_verdict"]
    return fills


def take_facts(spans: pl.DataFrame, above: Index, out: dict[int, Decision]) -> None:
    """Gives each fact to the call that it is about: the span it was recorded at, or the call that this one was merged
    into; else, of the calls in its trace that have the same usage, the one below that span and nearest in time."""
    rows = np.flatnonzero(spans["is_fact"].to_numpy()).tolist()
    if not rows:
        return
    facts = [(row, spans.row(row, named=True)) for row in rows]
    traces = {(fact["tenant"], fact["trace_id"]) for _, fact in facts}
    by_trace: dict[tuple[str, str], dict[int, Row]] = {trace: {} for trace in traces}
    merged: dict[tuple[str, str, str], str] = {}
    wanted = pl.DataFrame(sorted(traces), schema=["tenant", "trace_id"], orient="row")
    members = spans.with_row_index("row").filter(pl.col("is_candidate")).join(wanted, on=wanted.columns, how="semi")
    for call in members.iter_rows(named=True):
        decision = out.get(call["row"])
        if decision is None or decision.reason is None:
            by_trace[call["tenant"], call["trace_id"]][call["row"]] = call
        elif decision.merged_into:
            merged[call["tenant"], call["trace_id"], call["span_id"]] = decision.merged_into
    used: set[tuple[int, str | None]] = set()
    for row, fact in sorted(facts, key=lambda item: (item[1]["start_time"], item[1]["span_id"])):
        calls = by_trace[fact["tenant"], fact["trace_id"]]
        at = merged.get((fact["tenant"], fact["trace_id"], fact["parent_span_id"]), fact["parent_span_id"])
        owner = next((r for r, call in calls.items() if call["span_id"] == at), None)
        if owner is None:
            free = {r: call for r, call in calls.items() if (r, fact["scope_name"]) not in used}
            owner = _told_of(fact, free, int(above[row]), above)
        if owner is not None:
            used.add((owner, fact["scope_name"]))
            _give(out, owner, calls[owner], [fact])


def _told_of(fact: Row, calls: dict[int, Row], recorded: int, above: Index) -> int | None:
    """The call with the usage that a fact states, nearest to it in time; None where no usage is stated."""
    if fact["input_tokens"] is None or fact["output_tokens"] is None:
        return None
    same = [
        row for row, call in calls.items()
        if (call["input_tokens"], call["output_tokens"]) == (fact["input_tokens"], fact["output_tokens"])
    ]  # fmt: skip
    below = [row for row in same if recorded >= 0 and above[row] == recorded]
    ends = {row: calls[row]["start_time"].timestamp() + calls[row]["duration_ns"] / 1e9 for row in same}
    told = fact["start_time"].timestamp()
    return min(below or same, key=lambda row: (abs(ends[row] - told), calls[row]["span_id"]), default=None)


def inherit(spans: pl.DataFrame, calls: Index, above: Index, out: dict[int, Decision]) -> None:
    """A call takes session, conversation and user from its trace when all that state one state the same; and the
    requested model, where it names none, from the nearest span above it that does."""
    if not len(calls):
        return
    own = spans.select("tenant", "trace_id", *INHERITED)[calls].with_columns(row=pl.Series(calls))
    lacking = own.filter(pl.any_horizontal(pl.col(INHERITED).is_null()))
    if len(lacking):
        _from_trace(spans, lacking, out)
    nameless = (spans["request_model"].is_null() & spans["response_model"].is_null()).to_numpy()
    for row in calls[nameless[calls]].tolist():
        held = dict(out[row].fills) if row in out else {}
        if "request_model" not in held and "response_model" not in held:
            _model_above(spans, row, above, out)


def _from_trace(spans: pl.DataFrame, lacking: pl.DataFrame, out: dict[int, Decision]) -> None:
    stated = (
        spans.join(lacking.select("tenant", "trace_id").unique(), on=["tenant", "trace_id"], how="semi")
        .group_by("tenant", "trace_id")
        .agg(pl.when(pl.col(name).n_unique() - pl.col(name).has_nulls() == 1).then(pl.col(name).max()).alias(name)
             for name in INHERITED)
        .filter(pl.any_horizontal(pl.col(INHERITED).is_not_null()))
    )  # fmt: skip
    for row in lacking.join(stated, on=["tenant", "trace_id"], suffix="_stated").iter_rows(named=True):
        held = dict(out[row["row"]].fills) if row["row"] in out else {}
        fills = {n: row[f"{n}_stated"] for n in INHERITED if row[n] is None and row[f"{n}_stated"] is not None}
        if fills:
            out[row["row"]] = Decision(None, None, tuple((fills | held).items()))


def _model_above(spans: pl.DataFrame, row: int, above: Index, out: dict[int, Decision]) -> None:
    at, steps, names = int(above[row]), 0, spans["request_model"]
    while at >= 0 and steps < 1000:
        if names[at] is not None:
            held = out[row].fills if row in out else ()
            out[row] = Decision(None, None, (*held, ("request_model", names[at])))
            return
        at, steps = int(above[at]), steps + 1
