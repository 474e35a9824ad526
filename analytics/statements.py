"""The named queries: every number that the product shows is one of `sql/*.sql`.

A query text holds `$name` parameters, which are always bound, and `{part}`s, which are other shipped texts. `as_sql`
writes the parameters out as literals: a stock DuckDB runs that text on the published file to the same number.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

import pyarrow as pa

from spanfold.analytics import views
from spanfold.analytics.filters import EPOCH_DAY, Filters
from spanfold.analytics.scope import scoped
from spanfold.semconv.schema import LATENCY_BUCKETS

DIMENSIONS = {  # what facts can be broken down by -> column
    "service": "service_name", "environment": "environment", "project": "project", "key": "key_label",
    "provider": "provider", "model": "model", "operation": "operation", "tenant": "tenant",
}  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "limit": 50, "step": "day", "rule": "all", "before_time": None, "before_id": None, "trace_id": None,
    "after": None, "currency": "USD", "resent_by": "tool",
}  # fmt: skip

PAGED = {  # query -> (the query that finds its keys, how many of them; None = its own limit)
    "traces_page": ("trace_keys", None), "conversations_page": ("conversation_keys", None),
    "review_queue": ("trace_keys", 5_000), "conversation_calls": ("conversation_traces", None),
    "conversation_row": ("conversation_traces", None),
}  # fmt: skip

_COMPARED = frozenset({"overview_tiles", "top_movers"})  # with the period of the same length before
_PRICED = {"true": "lake.priced", "believed": "lake.priced_believed", "today": "lake.priced_today"}
_PARAMETER = re.compile(r"'(?:[^']|'')*'|--[^\n]*|\$(\w+)")


class Query:
    """One named query with its parameters."""

    def __init__(self, name: str, filters: Filters | None = None, **params: Any) -> None:
        filters = filters or Filters()
        by, then = params.pop("by", "service"), params.pop("then_by", "")
        basis = params.pop("basis", "true")
        self.name = name
        self.text = _text(
            name, _facts(filters, basis), DIMENSIONS[by], DIMENSIONS[then] if then else "NULL::VARCHAR", basis
        )
        values = DEFAULTS | filters.parameters() | params
        if name in _COMPARED:
            values |= _with_previous_period(filters)
        wanted = dict.fromkeys(m[1] for m in _PARAMETER.finditer(self.text) if m[1])
        missing = [key for key in wanted if key not in values]
        if missing:
            raise TypeError(f"query {name} needs {', '.join(missing)}")
        self.parameters: dict[str, Any] = {key: values[key] for key in wanted}

    def as_sql(self) -> str:
        """The text with its parameters written out."""

        def replace(match: re.Match[str]) -> str:
            return literal(self.parameters[match[1]]) if match[1] else match[0]

        return _PARAMETER.sub(replace, self.text).strip() + "\n"


def page_of(keys: pa.Table) -> dict[str, Any]:
    """The parameters of a paged query from the rows of its keys query."""
    rows = keys.to_pylist()
    ids = [row.get("conversation") or row["trace_id"] for row in rows]
    traces = {trace for row in rows for trace in row.get("trace_ids") or [row["trace_id"]]}
    return {
        "page_tenants": [row["tenant"] for row in rows], "page_ids": ids,
        "page_times": [row["page_time"] for row in rows], "trace_ids": sorted(traces),
        "first_day": min((row["first_day"] for row in rows), default=EPOCH_DAY) - dt.timedelta(days=1),
        "last_day": max((row["last_day"] for row in rows), default=EPOCH_DAY) + dt.timedelta(days=1),
    }  # fmt: skip


def literal(value: Any) -> str:
    """A value as DuckDB SQL."""
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).lower()
        case int() | Decimal():
            return str(value)
        case float():
            return f"{value!r}::DOUBLE"
        case dt.datetime():
            return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
        case dt.date():
            return f"DATE '{value.isoformat()}'"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case bytes():
            return f"from_hex('{value.hex()}')"
        case list() | tuple():
            return "[" + ", ".join(literal(item) for item in value) + "]"
        case _:
            raise TypeError(f"no SQL literal for {type(value).__name__}")


def _with_previous_period(filters: Filters) -> Mapping[str, Any]:
    """Reads from the previous period's start on; `split` parts the two."""
    start = filters.previous()
    return {"split": filters.start, "start": start, "first_date": start.date()}


def _facts(filters: Filters, basis: str) -> str:
    """The shipped text that has these numbers, and that reads the least for it."""
    if not filters.rolled_up or basis != "true":
        return "facts_calls"
    return "facts_rollup" if filters.whole_hours else "facts_edges"


@cache
def _text(name: str, facts: str, dimension: str, then_dimension: str, basis: str) -> str:
    """A query with its parts filled in. Parts are shipped texts and names of `DIMENSIONS` and bases, never data."""
    parts = {
        "facts": "\n" + views.read_sql(facts),
        "facts_rollup": "\n" + views.read_sql("facts_rollup"),
        "facts_calls": "\n" + views.read_sql("facts_calls"),
        "edge_hours": ", ".join(f"date_trunc('hour', ${name}::TIMESTAMP)" for name in ("start", "split", "end")),
        "priced": _PRICED[basis],
        "rated": f"({views.cost_sql('lake.calls', basis, with_rates=True)})",
        "filter_spans": _condition("filter_spans"),
        "filter_rollup": _condition("filter_rollup"),
        "filter_review": _condition("filter_review"),
        "dimension": dimension,
        "then_dimension": then_dimension,
        "usage_names": ", ".join(views.USAGE_COLUMNS),
        "latency_counts": _latency_counts(),
    }
    return scoped(views.fill(views.read_sql(name), views.waste_parts() | parts | views.shared_parts()))


def _condition(name: str) -> str:
    """A condition without its comment, so that it stands inside a line."""
    lines = views.read_sql(name).splitlines()
    return "\n".join(line for line in lines if not line.startswith("--"))


def _latency_counts() -> str:
    bucket = "greatest(least(floor(2 * log2(greatest(duration_ms, 1e-3)))::INTEGER, 39), 0)"
    return "[" + ", ".join(f"count(*) FILTER ({bucket} = {i})" for i in range(LATENCY_BUCKETS)) + "]"
