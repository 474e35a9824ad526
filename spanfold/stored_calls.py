"""What the pipeline asks of stored spans: where late content belongs, and the calls of a turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spanfold.analytics.lookup import StoredSpans
from spanfold.collector.turns import TurnCall
from spanfold.exporter.fold import Place
from spanfold.semconv.turns import CallOfTurn

Key = tuple[str, str, str]  # tenant, trace_id, span_id


def places(stored: StoredSpans, keys: Sequence[Key]) -> Mapping[Key, Place]:
    """The place of each of these spans that is stored."""
    return {key: _place(key, row) for key, row in stored.places(keys).items()}


def calls(stored: StoredSpans, traces: Sequence[tuple[str, str]]) -> list[TurnCall]:
    """The stored calls of these traces."""
    return [
        TurnCall(
            _place((row["tenant"], row["trace_id"], row["span_id"]), row),
            CallOfTurn(row["span_id"], row["parent_span_id"], int(row["start_time"].timestamp() * 1e6) * 1000),
            frozenset(row["says"]),
        )
        for row in stored.calls_of_turns(traces)
    ]


def _place(key: Key, row: Mapping[str, Any]) -> Place:
    return Place(
        tenant=key[0], trace_id=key[1], span_id=key[2], date=row["date"], start_time=row["start_time"],
        hints=tuple(v for v in (row["conversation_id"], row["session_id"]) if v), service=row["service_name"],
    )  # fmt: skip
