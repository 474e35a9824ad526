"""A trace's spans as the columns that the waterfall draws: depth-first, parents summed, what is missing shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from spanfold.dashboard import formatting

Row = Mapping[str, Any]

KINDS = {
    "chat": "model",
    "generate_content": "model",
    "text_completion": "model",
    "embeddings": "model",
    "execute_tool": "tool",
    "invoke_agent": "agent",
    "create_agent": "agent",
    "invoke_workflow": "agent",
    "plan": "agent",
    "retrieval": "data",
    "search_memory": "data",
}


def columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Columns of equal length in tree order. Times are ms after the earliest start; a parent that is not stored stands
    as a gap row over its orphans, so that they are seen to belong together."""
    by_id = {row["span_id"]: row for row in rows}
    children: dict[str | None, list[str]] = defaultdict(list)
    gaps: dict[str, list[Row]] = defaultdict(list)
    for row in rows:  # in order of start
        parent = row["parent_span_id"]
        if parent is not None and parent not in by_id:
            if parent not in gaps:
                children[None].append(parent)
            gaps[parent].append(row)
        children[parent].append(row["span_id"])
    origin = min(row["start_time"] for row in rows)
    out: dict[str, list[Any]] = defaultdict(list)
    stack: list[tuple[str, int, str | None]] = [(ident, 0, None) for ident in reversed(children[None])]
    seen: set[str] = set()
    while stack:
        ident, depth, parent = stack.pop()
        if ident in seen:  # two spans name each other as parent
            continue
        seen.add(ident)
        if ident in by_id:
            _add(out, by_id[ident], depth, parent, origin)
        else:
            _add_gap(out, ident, gaps[ident], origin)
        stack += [(child, depth + 1, ident) for child in reversed(children[ident])]
    for row in rows:  # a ring of parents has no root: its spans still show
        if row["span_id"] not in seen:
            seen.add(row["span_id"])
            _add(out, row, 0, None, origin)
    _sum_up(out)
    return dict(out)


def kind_of(row: Row) -> str:
    """model | tool | agent | data | other: the colour of a bar."""
    operation = row["operation"]
    return KINDS.get(operation or "", "model" if row["is_call"] else "agent" if row["agent_name"] else "other")


def title_of(row: Row) -> str:
    return row["name"] or row["operation"] or "(no name)"


def _add(out: dict[str, list[Any]], row: Row, depth: int, parent: str | None, origin: Any) -> None:
    start = (row["start_time"] - origin).total_seconds() * 1e3
    length = max(0.0, row["duration_ms"] or 0.0)
    first = row["ttft_ms"]
    known = [row[name] for name in ("input_tokens", "output_tokens") if row[name] is not None] if row["is_call"] else []
    words = (
        row["name"],
        row["operation"],
        row["model"],
        row["tool_name"],
        row["agent_name"],
        row["service_name"],
        row["error_type"],
    )
    values = {
        "id": row["span_id"],
        "parent": parent,
        "depth": depth,
        "name": title_of(row),
        "kind": kind_of(row),
        "start": start,
        "end": start + length,
        "first": first if first is not None and 0 < first < length else None,
        "error": row["status"] == "error",
        "badge": _badge(row),
        "price": row["cost"] or 0.0,
        "count": sum(known) if known else None,
        "unpriced": int(row["price_confidence"] == "unpriced"),
        "call": bool(row["is_call"]),
        "find": " ".join(filter(None, words)).lower(),
    }
    for name, value in values.items():
        out[name].append(value)


def _add_gap(out: dict[str, list[Any]], ident: str, orphans: Sequence[Row], origin: Any) -> None:
    starts = [(row["start_time"] - origin).total_seconds() * 1e3 for row in orphans]
    ends = [start + max(0.0, row["duration_ms"] or 0.0) for start, row in zip(starts, orphans, strict=True)]
    values = {
        "id": ident,
        "parent": None,
        "depth": 0,
        "name": "parent not received",
        "kind": "gap",
        "start": min(starts),
        "end": max(ends),
        "first": None,
        "error": False,
        "badge": "gap",
        "price": 0.0,
        "count": None,
        "unpriced": 0,
        "call": False,
        "find": "gap",
    }
    for name, value in values.items():
        out[name].append(value)


def _badge(row: Row) -> str:
    if row["suppressed_reason"] in ("twin", "mirror"):
        return str(row["suppressed_reason"])
    if row["status"] == "canceled":
        return "canceled"
    if row["truncated"]:
        return "truncated"
    return "orphan" if row["orphan"] else ""


def _sum_up(out: dict[str, list[Any]]) -> None:
    """Cost and tokens of parents are those of the calls below them; a call shows its own."""
    place = {ident: at for at, ident in enumerate(out["id"])}
    price, count, unpriced = list(out["price"]), list(out["count"]), list(out["unpriced"])
    for at in range(len(out["id"]) - 1, -1, -1):  # children stand after their parents
        parent = place.get(out["parent"][at]) if out["parent"][at] is not None else None
        if parent is not None:
            price[parent] += price[at]
            unpriced[parent] += unpriced[at]
            if count[at] is not None:
                count[parent] = (count[parent] or 0) + count[at]
    out["sum"] = [not call for call in out["call"]]
    out["tokens"] = ["" if n is None else formatting.short(n) for n in count]
    out["cost"] = [
        formatting.money(amount) if amount else formatting.DASH if missing else ""
        for amount, missing in zip(price, unpriced, strict=True)
    ]
