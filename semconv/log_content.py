"""Content that comes in log records: one message a record, or whole sides in one record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spanfold.semconv import events
from spanfold.semconv.anyvalue import decode_any_value
from spanfold.semconv.detection import DIALECTS, Dialects
from spanfold.semconv.events import LogContent
from spanfold.semconv.ids import hex_ids
from spanfold.semconv.records import LogBatch
from spanfold.semconv.value_columns import Rows


def normalise_logs(batch: LogBatch, dialects: Dialects = DIALECTS) -> list[LogContent]:
    """The pieces of content in a batch of log records; records of no span, and those that say nothing, are left out."""
    names = event_names(batch, dialects)
    rows = np.array([row for row, name in enumerate(names) if name in dialects.event_names], np.int64)
    if not len(rows):
        return []
    attributes = attributes_of(batch, rows)
    traces = hex_ids(batch.columns["trace_id"].combine_chunks()).to_pylist()
    spans = hex_ids(batch.columns["span_id"].combine_chunks()).to_pylist()
    bodies, times, observed = (batch.columns[name] for name in ("body", "time_ns", "observed_ns"))
    first = _first_of_origin(batch)
    out = []
    for row in rows.tolist():
        trace, span = traces[row], spans[row]
        if not trace or not span:
            continue
        body, said = decode_any_value(bodies[row].as_py()), attributes.get(row, {})
        piece = events.safe_piece(names[row], body, said, dialects.event_messages, dialects.places, row, "log")
        if piece is not None:
            piece.trace_id, piece.span_id = trace, span
            time = times[row].as_py() or observed[row].as_py()
            piece.sequence = (time, events.position_in(said, body), row - first[row])
            out.append(piece)
    return out


def event_names(batch: LogBatch, dialects: Dialects) -> list[str | None]:
    """The event name of every record: the field of new SDKs, or the attribute `event.name` of old ones. Where both
    stand, the one that a table knows (Rust's tracing puts the place in the source into the field)."""
    names: list[str | None] = batch.columns["event_name"].to_pylist()
    rows, texts = batch.attributes.strings("event.name")
    for row, text in zip(rows.tolist(), texts.to_pylist(), strict=True):
        names[row] = text if text in dialects.record_names else names[row] or text
    return names


def attributes_of(batch: LogBatch, rows: Rows | Sequence[int]) -> dict[int, dict[str, Any]]:
    """All attributes of these records, decoded."""
    wanted = np.zeros(batch.attributes.length, np.bool_)
    wanted[rows] = True
    at = np.flatnonzero(wanted[batch.attributes.rows])
    out: dict[int, dict[str, Any]] = {}
    values = batch.attributes.decode(at)
    owners, codes = batch.attributes.rows[at].tolist(), batch.attributes.codes[at].tolist()
    for row, code, value in zip(owners, codes, values, strict=True):
        out.setdefault(row, {})[batch.attributes.keys[code]] = value
    return out


def _first_of_origin(batch: LogBatch) -> list[int]:
    """For every record the first record of its scope in its request: places in a request survive resending."""
    origin = batch.columns["origin"].to_numpy()
    starts = np.searchsorted(origin, origin, side="left") if len(origin) else origin
    return [int(start) for start in starts]
