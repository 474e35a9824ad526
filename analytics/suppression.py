"""Which candidates are not calls: containers, twins and mirrors. A pure function of the spans of whole traces.

Tokens and money are counted once, on the billable leaf (rule 4). A *container* (agent, workflow, gateway) repeats its
children's usage and is a call only while no descendant carries usage. *Twins* are two spans of one call: equal
response id in one trace, or different scopes with equal usage where one is the other's ancestor or both overlap in
time. The richest twin stays and takes what it lacks from the others (`fills`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from spanfold.semconv.schema import USAGE_COLUMNS

FILLED = (  # what a call may take from its twin where its own value is NULL
    "request_model", "response_model", "response_id", "provider", "session_id", "conversation_id", "user_id",
    "agent_name", "ttft_ms", "streaming", "service_tier", "prompt_name", "prompt_version", *USAGE_COLUMNS,
)  # fmt: skip
RANKED = ("request_model", "response_model", "response_id", "input_tokens", "output_tokens", "cache_read_tokens",
          "cache_write_tokens", "reasoning_tokens", "ttft_ms", "session_id", "conversation_id")  # fmt: skip

INHERITED = ["session_id", "conversation_id", "user_id"]

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one candidate."""

    reason: str | None  # container | twin | mirror; None = it is a call
    merged_into: str | None  # span_id
    fills: tuple[tuple[str, Any], ...] = ()


def parents(spans: pl.DataFrame) -> Index:
    """Row of the parent of every row, -1 for a root or a parent that is not there. Columns: tenant, trace_id,
    span_id, parent_span_id."""
    keyed = spans.select(
        pl.struct("tenant", "trace_id", "span_id").hash().alias("own"),
        pl.when(pl.col("parent_span_id").is_null())
        .then(None)
        .otherwise(pl.struct("tenant", "trace_id", pl.col("parent_span_id").alias("span_id")).hash())
        .alias("above"),
    ).with_row_index("row")
    found = keyed.select("above").join(
        keyed.select("own", pl.col("row").alias("at")).unique("own", keep="first"),
        left_on="above", right_on="own", how="left", maintain_order="left",
    )  # fmt: skip
    return found["at"].cast(pl.Int64).fill_null(-1).to_numpy()


def decide(spans: pl.DataFrame) -> dict[int, Decision]:
    """Decisions for the candidates among `spans` (whole traces), by row. Rows not named are calls as they stand.

    Columns: tenant, trace_id, span_id, parent_span_id, scope_name, start_time, duration_ns, is_candidate,
    is_container, has_content and those of FILLED.
    """
    above = parents(spans)
    candidate = spans["is_candidate"].fill_null(False).to_numpy()
    container = spans["is_container"].fill_null(False).to_numpy() & candidate
    tokens = spans.select("input_tokens", "output_tokens")
    usage = ~(tokens["input_tokens"].is_null() & tokens["output_tokens"].is_null()).to_numpy()
    out: dict[int, Decision] = {}
    over_usage = _ancestors(np.flatnonzero(candidate & usage), above, len(spans))
    wraps = candidate & over_usage & (container | ~usage)  # a span without usage over one that has it only wraps it
    bare = container & ~usage
    for row in np.flatnonzero(wraps | bare).tolist():
        out[row] = Decision("container", None)
    leaves = np.flatnonzero(candidate & ~wraps & ~bare)
    for group in _twins(spans, leaves, above):
        _merge(spans, group, out)
    _inherit(spans, np.setdiff1d(np.flatnonzero(candidate), np.array(sorted(out), np.int64)), out)
    return out


def _ancestors(rows: Index, above: Index, count: int) -> NDArray[np.bool_]:
    """Flags of all strict ancestors of these rows."""
    marked = np.zeros(count, np.bool_)
    front = rows
    while len(front):
        front = np.unique(above[front])
        front = front[front >= 0]
        front = front[~marked[front]]
        marked[front] = True
    return marked


def _twins(spans: pl.DataFrame, leaves: Index, above: Index) -> list[list[int]]:
    """Groups of rows that are one call. Most traces have none: found by columns, looped over only where suspected."""
    if len(leaves) < 2:
        return []
    frame = spans[leaves].select(
        "tenant", "trace_id", "response_id", "scope_name", "input_tokens", "output_tokens"
    ).with_columns(row=pl.Series(leaves))  # fmt: skip
    groups: list[list[int]] = (
        frame.filter(pl.col("response_id").is_not_null())
        .group_by("tenant", "trace_id", "response_id")
        .agg("row")
        .filter(pl.col("row").list.len() > 1)["row"]
        .to_list()
    )
    same_usage = (
        frame.filter(pl.col("input_tokens").is_not_null() & pl.col("output_tokens").is_not_null())
        .group_by("tenant", "trace_id", "input_tokens", "output_tokens")
        .agg("row", pl.col("scope_name").n_unique().alias("scopes"))
        .filter((pl.col("row").list.len() > 1) & (pl.col("scopes") > 1))["row"]
        .to_list()
    )
    failed = (  # both tell of one failed request: neither has usage or an id
        frame.filter(pl.all_horizontal(pl.col("response_id", "input_tokens", "output_tokens").is_null()))
        .group_by("tenant", "trace_id")
        .agg("row", pl.col("scope_name").n_unique().alias("scopes"))
        .filter((pl.col("row").list.len() > 1) & (pl.col("scopes") > 1))["row"]
        .to_list()
    )
    taken = {row for group in groups for row in group}
    for rows, nested_only in ((same_usage, False), (failed, True)):
        for members in rows:
            free = [row for row in members if row not in taken]
            groups += _pair(spans, free, above, nested_only=nested_only)
    return [sorted(group) for group in groups]


def _pair(spans: pl.DataFrame, rows: list[int], above: Index, *, nested_only: bool) -> list[list[int]]:
    """Pairs of different scopes and equal usage: ancestor and descendant first, then overlap with equal model."""
    facts = {row: spans.row(row, named=True) for row in rows}
    pairs: list[list[int]] = []
    used: set[int] = set()
    for nested in (True,) if nested_only else (True, False):
        for i, first in enumerate(rows):
            for second in rows[i + 1 :]:
                if first in used or second in used or not _may_be_one(facts[first], facts[second]):
                    continue
                related = _is_above(first, second, above) or _is_above(second, first, above)
                if related if nested else not related and _overlap(facts[first], facts[second]):
                    pairs.append([first, second])
                    used |= {first, second}
    return pairs


def _may_be_one(a: dict[str, Any], b: dict[str, Any]) -> bool:
    if a["scope_name"] == b["scope_name"] or (a["response_id"] and b["response_id"]):
        return False
    models = [{row["request_model"], row["response_model"]} - {None} for row in (a, b)]
    return not models[0] or not models[1] or bool(models[0] & models[1])


def _overlap(a: dict[str, Any], b: dict[str, Any]) -> bool:
    a_end = a["start_time"].timestamp() + a["duration_ns"] / 1e9
    b_end = b["start_time"].timestamp() + b["duration_ns"] / 1e9
    return bool(a["start_time"].timestamp() < b_end and b["start_time"].timestamp() < a_end)


def _is_above(upper: int, lower: int, above: Index) -> bool:
    steps = 0
    while lower >= 0 and steps < 1000:
        lower, steps = int(above[lower]), steps + 1
        if lower == upper:
            return True
    return False


def _merge(spans: pl.DataFrame, group: list[int], out: dict[int, Decision]) -> None:
    """The richest stays: content first, then most facts known, then the earliest start."""
    facts = [(row, spans.row(row, named=True)) for row in group]
    facts.sort(
        key=lambda item: (
            not item[1]["has_content"],
            -sum(item[1][name] is not None for name in RANKED),
            item[1]["start_time"],
            item[1]["span_id"],
        )
    )
    (kept, best), others = facts[0], facts[1:]
    fills = {}
    for name in FILLED:
        if best[name] is None:
            fills[name] = next((other[name] for _, other in others if other[name] is not None), None)
    known = tuple((name, value) for name, value in fills.items() if value is not None)
    if known:
        out[kept] = Decision(None, None, known)
    for row, _ in others:
        out[row] = Decision("twin", best["span_id"])


def _inherit(spans: pl.DataFrame, calls: Index, out: dict[int, Decision]) -> None:
    """A call takes session, conversation and user from its trace when all spans that state one state the same."""
    if not len(calls):
        return
    own = spans[calls].select("tenant", "trace_id", *INHERITED).with_columns(row=pl.Series(calls))
    lacking = own.filter(pl.any_horizontal(pl.col(INHERITED).is_null()))
    if not len(lacking):
        return
    stated = (
        spans.join(lacking.select("tenant", "trace_id").unique(), on=["tenant", "trace_id"], how="semi")
        .group_by("tenant", "trace_id")
        .agg(pl.when(pl.col(name).n_unique() - pl.col(name).has_nulls() == 1).then(pl.col(name).max()).alias(name)
             for name in INHERITED)
        .filter(pl.any_horizontal(pl.col(INHERITED).is_not_null()))
    )  # fmt: skip
    for row in lacking.join(stated, on=["tenant", "trace_id"], suffix="_stated").iter_rows(named=True):
        fills = [(n, row[f"{n}_stated"]) for n in INHERITED if row[n] is None and row[f"{n}_stated"] is not None]
        if fills:
            out[row["row"]] = Decision(None, None, tuple(fills))
