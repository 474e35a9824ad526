"""Counts of what could not be taken as sent, as rows of the table `quality`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from spanfold.semconv.schema import QUALITY


def quality_tables(counts: Mapping[tuple[str, ...], int]) -> dict[dt.date, pa.Table]:
    """`counts`: (tenant, service, scope, kind, detail, example trace id, example span id) -> how often. They lie in the
    day they were found, each kind with one example."""
    if not counts:
        return {}
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    merged: dict[tuple[str, ...], dict[str, Any]] = {}
    for (tenant, service, scope, kind, detail, trace_id, span_id), count in counts.items():
        row = merged.setdefault(
            (tenant, service, scope, kind, detail),
            {"tenant": tenant, "service_name": service or None, "scope_name": scope or None, "kind": kind,
             "detail": detail or None, "count": 0, "example_trace_id": trace_id or None,
             "example_span_id": span_id or None, "first_seen": now},
        )  # fmt: skip
        row["count"] += count
    return {now.date(): pa.Table.from_pylist(list(merged.values()), schema=QUALITY)}
