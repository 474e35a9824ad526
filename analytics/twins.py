"""Two spans of one call: in one trace (twins), or in the trace of a gateway beside that of its client (mirrors).

Twins have equal response ids in one trace; or different scopes with equal usage and model where one is the other's
ancestor or both overlap in time; or, of a failed request that has neither, different scopes and one lies within the
other. Equal ids alone are not enough where one library states them one after the other: caches and mocks do that.
Most traces have neither: suspects are found by columns, and only suspects are looped over.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Index = NDArray[np.int64]
Group = list[int]  # rows of one call

_SKEW = dt.timedelta(seconds=1)  # by which the clocks of a client and its gateway may differ


def twins(spans: pl.DataFrame, leaves: Index, above: Index) -> list[Group]:
    """Groups of rows that are one call of one trace."""
    if len(leaves) < 2:
        return []
    frame = spans.select(
        "tenant", "trace_id", "response_id", "scope_name", "input_tokens", "output_tokens", "status"
    )[leaves].with_columns(row=pl.Series(leaves))  # fmt: skip
    same_id = _members(_repeated(frame), ["response_id"], scopes=1)
    groups = [group for rows in same_id for group in _of_one_id(spans, rows, above)]
    if frame["scope_name"].n_unique() < 2:
        return [sorted(group) for group in groups]
    taken = {row for group in groups for row in group}
    told = frame.filter(pl.col("input_tokens").is_not_null() & pl.col("output_tokens").is_not_null())
    for rows in _members(told, ["input_tokens", "output_tokens"], scopes=2):
        groups += _pairs(spans, [row for row in rows if row not in taken], above, failed=False)
    nothing = frame.filter(pl.all_horizontal(pl.col("response_id", "input_tokens", "output_tokens").is_null()))
    for rows in _members(nothing, [], scopes=2):
        groups += _pairs(spans, [row for row in rows if row not in taken], above, failed=True)
    return [sorted(group) for group in groups]


def mirrors(spans: pl.DataFrame, calls: Index) -> list[Group]:
    """Pairs of calls in two traces: one response id, told by different services or scopes at the same time."""
    if len(calls) < 2:
        return []
    frame = spans.select("tenant", "trace_id", "response_id")[calls].with_columns(row=pl.Series(calls))
    suspects: list[Group] = (
        _repeated(frame)
        .group_by("tenant", "response_id")
        .agg("row", pl.col("trace_id").n_unique().alias("traces"))
        .filter(pl.col("traces") > 1)["row"]
        .to_list()
    )
    groups: list[Group] = []
    for rows in suspects:
        facts = {row: spans.row(row, named=True) for row in sorted(rows)}
        used: set[int] = set()
        for first in facts:
            for second in facts:
                if first < second and not used & {first, second} and _is_mirror(facts[first], facts[second]):
                    groups.append([first, second])
                    used |= {first, second}
    return groups


def _repeated(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows whose response id others state too: few, so that what follows costs nearly nothing."""
    ids = frame["response_id"]
    return frame.filter(ids.is_not_null() & ids.is_duplicated())


def _members(frame: pl.DataFrame, keys: list[str], *, scopes: int) -> list[Group]:
    """Rows of one trace that are equal in `keys`, from at least so many scopes."""
    found: list[Group] = (
        frame.group_by("tenant", "trace_id", *keys)
        .agg("row", pl.col("scope_name").n_unique().alias("scopes"))
        .filter((pl.col("row").list.len() > 1) & (pl.col("scopes") >= scopes))["row"]
        .to_list()
    )
    return found


def _of_one_id(spans: pl.DataFrame, rows: Group, above: Index) -> list[Group]:
    """Rows with one response id, divided where one library states it again later."""
    facts = {row: spans.row(row, named=True) for row in rows}
    groups: list[Group] = []
    for row in sorted(rows, key=lambda r: (facts[r]["start_time"], -facts[r]["duration_ns"], facts[r]["span_id"])):
        for group in groups:
            if any(_one_call(facts[row], facts[other], _related(row, other, above)) for other in group):
                group.append(row)
                break
        else:
            groups.append([row])
    return [group for group in groups if len(group) > 1]


def _one_call(a: dict[str, Any], b: dict[str, Any], related: bool) -> bool:
    return related or a["scope_name"] != b["scope_name"] or _overlap(a, b)


def _pairs(spans: pl.DataFrame, rows: Group, above: Index, *, failed: bool) -> list[Group]:
    """Pairs of different scopes: ancestor and descendant first, then those that overlap in time; of failed requests
    without usage those of which one lies within the other."""
    facts = {row: spans.row(row, named=True) for row in rows}
    pairs: list[Group] = []
    used: set[int] = set()
    for nested in (True, False):
        for i, first in enumerate(rows):
            for second in rows[i + 1 :]:
                if first in used or second in used or not _may_be_one(facts[first], facts[second]):
                    continue
                related = _related(first, second, above)
                beside = _fail_together if failed else _overlap
                if related if nested else not related and beside(facts[first], facts[second]):
                    pairs.append([first, second])
                    used |= {first, second}
    return pairs


def _may_be_one(a: dict[str, Any], b: dict[str, Any]) -> bool:
    if a["scope_name"] == b["scope_name"] or (a["response_id"] and b["response_id"]):
        return False
    return _models_agree(a, b)


def _models_agree(a: dict[str, Any], b: dict[str, Any]) -> bool:
    models = [{row["request_model"], row["response_model"]} - {None} for row in (a, b)]
    return not models[0] or not models[1] or bool(models[0] & models[1])


def _is_mirror(a: dict[str, Any], b: dict[str, Any]) -> bool:
    if a["trace_id"] == b["trace_id"] or (a["service_name"], a["scope_name"]) == (b["service_name"], b["scope_name"]):
        return False
    for name in ("input_tokens", "output_tokens"):
        if a[name] is not None and b[name] is not None and a[name] != b[name]:
            return False
    (a_start, a_end), (b_start, b_end) = _span_of(a), _span_of(b)
    return _models_agree(a, b) and a_start - _SKEW < b_end and b_start - _SKEW < a_end


def _overlap(a: dict[str, Any], b: dict[str, Any]) -> bool:
    (a_start, a_end), (b_start, b_end) = _span_of(a), _span_of(b)
    return a_start < b_end and b_start < a_end


def _fail_together(a: dict[str, Any], b: dict[str, Any]) -> bool:
    if a["status"] != "error" or b["status"] != "error":
        return False
    (a_start, a_end), (b_start, b_end) = _span_of(a), _span_of(b)
    return (a_start <= b_start and b_end <= a_end) or (b_start <= a_start and a_end <= b_end)


def _span_of(row: dict[str, Any]) -> tuple[dt.datetime, dt.datetime]:
    start: dt.datetime = row["start_time"]
    return start, start + dt.timedelta(microseconds=max(0, row["duration_ns"]) / 1000)


def _related(one: int, other: int, above: Index) -> bool:
    return _is_above(one, other, above) or _is_above(other, one, above)


def _is_above(upper: int, lower: int, above: Index) -> bool:
    steps = 0
    while lower >= 0 and steps < 1000:
        lower, steps = int(above[lower]), steps + 1
        if lower == upper:
            return True
    return False
