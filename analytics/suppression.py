"""Which candidates are not calls: containers, twins and mirrors. A pure function of the spans of whole traces.

Tokens and money are counted once, on the billable leaf (rule 4). A *container* (agent, workflow, gateway) repeats its
children's usage and is a call only while no descendant carries usage; a span whose usage is the sum of the calls below
it is one too, whatever it calls itself. *Twins* are two spans of one call in one trace, *mirrors* the same in two
traces (twins.py). The richest of them stays and takes what it lacks from the others (fills.py).
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from spanfold.analytics.fills import Decision, inherit, merge, take_facts
from spanfold.analytics.twins import Index, mirrors, twins
from spanfold.semconv.schema import FACT_COLUMNS

__all__ = ["FACT_COLUMNS", "Decision", "decide", "parents"]

Flags = NDArray[np.bool_]


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

    Columns: tenant, trace_id, span_id, parent_span_id, scope_name, service_name, start_time, duration_ns, status,
    is_candidate, is_container, is_fact, has_content, reason, merged_into and FACT_COLUMNS.
    """
    above = parents(spans)
    candidate = spans["is_candidate"].fill_null(False).to_numpy()
    container = spans["is_container"].fill_null(False).to_numpy() & candidate
    tokens = spans.select("input_tokens", "output_tokens")
    usage = ~(tokens["input_tokens"].is_null() & tokens["output_tokens"].is_null()).to_numpy()
    out: dict[int, Decision] = {}
    over_usage = _ancestors(np.flatnonzero(candidate & usage), above, len(spans))
    wraps = candidate & over_usage & (container | ~usage)  # a span without usage over one that has it only wraps it
    wraps |= _sums(tokens, candidate & usage & over_usage & ~wraps, candidate & usage & ~wraps, above)
    bare = container & ~usage
    for row in np.flatnonzero(wraps | bare).tolist():
        out[row] = Decision("container", None)
    leaves = np.flatnonzero(candidate & ~wraps & ~bare)
    for group in twins(spans, leaves, above):
        merge(spans, group, "twin", out)
    for group in mirrors(spans, _without_gone(leaves, out)):
        merge(spans, group, "mirror", out)
    _keep_mirrors(spans, candidate, out)
    take_facts(spans, above, out)
    inherit(spans, _without_gone(np.flatnonzero(candidate), out), above, out)
    return out


def _without_gone(rows: Index, out: dict[int, Decision]) -> Index:
    """Those of these rows that are calls."""
    gone = [row for row, decision in out.items() if decision.reason is not None]
    return rows[~np.isin(rows, gone)]


def _gone(out: dict[int, Decision], row: int) -> bool:
    decision = out.get(row)
    return decision is not None and decision.reason is not None


def _ancestors(rows: Index, above: Index, count: int) -> Flags:
    """Flags of all strict ancestors of these rows."""
    marked = np.zeros(count, np.bool_)
    front = rows
    while len(front):
        front = np.unique(above[front])
        front = front[front >= 0]
        front = front[~marked[front]]
        marked[front] = True
    return marked


def _sums(tokens: pl.DataFrame, suspects: Flags, calls: Flags, above: Index) -> Flags:
    """Suspects of which the nearest calls below add up to exactly their own usage: they repeat it."""
    found = np.zeros(len(above), np.bool_)
    rows = np.flatnonzero(suspects)
    if not len(rows):
        return found
    below: dict[int, list[int]] = {int(row): [] for row in rows}
    for call in np.flatnonzero(calls).tolist():
        at, steps = int(above[call]), 0
        while at >= 0 and steps < 1000 and not calls[at]:
            at, steps = int(above[at]), steps + 1
        if at in below:
            below[at].append(call)
    numbers = [tokens[name].fill_null(0).to_numpy() for name in ("input_tokens", "output_tokens")]
    for row, children in below.items():
        totals = [(int(n[row]), int(n[children].sum())) for n in numbers]
        found[row] = len(children) > 1 and all(own == total for own, total in totals) and totals[0][0] > 0
    return found


def _keep_mirrors(spans: pl.DataFrame, candidate: Flags, out: dict[int, Decision]) -> None:
    """What was found to mirror a call in a trace that is not here now stays a mirror."""
    marked = spans.select((pl.col("reason") == "mirror").fill_null(False))["reason"].to_numpy() & candidate
    for row in np.flatnonzero(marked).tolist():
        into, trace = spans["merged_into"][row], spans["trace_id"][row]
        absent = spans.filter((pl.col("span_id") == into) & (pl.col("trace_id") != trace)).is_empty()
        if absent and not _gone(out, row):
            out[row] = Decision("mirror", into)
