"""What is kept of a log record as it was sent. Its body is always private: nobody knows what it says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spanfold.semconv.anyvalue import decode_any_value, jsonable, needs_type, to_otlp_json
from spanfold.semconv.ids import hex_ids
from spanfold.semconv.keep import Kept, Privates, flat, keep_attributes, microseconds, none_if_empty
from spanfold.semconv.origins import dimension_columns, hidden_of_origins, origin_columns
from spanfold.semconv.records import LogBatch, scatter


class Understood(Protocol):
    """What was read from one record as content (`events.LogContent`): these attribute keys, and perhaps its body."""

    @property
    def row(self) -> int: ...
    @property
    def keys(self) -> frozenset[str]: ...
    @property
    def body(self) -> bool: ...


def keep_logs(batch: LogBatch, pieces: Sequence[Understood] = ()) -> Kept:
    """The columns of schema.LOGS but `log_id` and where private parts lie; what `pieces` understood is left out."""
    source = {name: flat(batch.columns[name]) for name in batch.columns.column_names}
    observed, time = np.asarray(source["observed_ns"]), np.asarray(source["time_ns"])
    time = np.where(time == 0, observed, time)
    private = Privates()
    columns = {
        "trace_id": hex_ids(source["trace_id"]),
        "span_id": hex_ids(source["span_id"]),
        "time": microseconds(time),
        "time_nanos": pa.array((time % 1000).astype(np.uint16)),
        "observed_time": pc.if_else(pa.array(observed > 0), microseconds(observed), None),
        "observed_nanos": pc.if_else(pa.array(observed > 0), pa.array((observed % 1000).astype(np.uint16)), None),
        "severity_number": source["severity_number"],
        "severity_text": none_if_empty(source["severity_text"]),
        "event_name": _event_names(batch, source["event_name"]),
        "flags": source["flags"],
        "dropped_attributes": source["dropped_attributes"],
    }
    columns |= origin_columns(batch.origins, source["origin"])
    columns |= dimension_columns(batch.attributes, batch.origins, source["origin"])
    columns |= keep_attributes(batch.attributes, _taken(batch, pieces), (), (), private)
    _add_bodies(source["body"], {piece.row for piece in pieces if piece.body}, private)
    for member, held in hidden_of_origins(batch.origins, source["origin"]).items():
        private.add(member, held)
    return Kept(columns=columns, private=private.rows())


def _event_names(batch: LogBatch, names: pa.StringArray) -> pa.StringArray:
    """The record's own event name, else its attribute `event.name`, as emitters before 1.33 of the data model do."""
    rows, stated = batch.attributes.strings("event.name")
    return pc.coalesce(none_if_empty(names), scatter(len(names), rows, stated, pa.string()))


def _taken(batch: LogBatch, pieces: Sequence[Understood]) -> NDArray[np.bool_]:
    """Which attributes the content store holds."""
    attributes = batch.attributes
    taken = np.zeros(len(attributes.codes), np.bool_)
    rows: dict[str, list[int]] = defaultdict(list)
    for piece in pieces:
        for key in piece.keys:
            rows[key].append(piece.row)
    for key, understood in rows.items():
        taken[attributes.positions_in(key, understood)] = True
    return taken


def _add_bodies(bodies: pa.BinaryArray, understood: set[int], private: Privates) -> None:
    found: dict[int, Any] = {}
    for row in np.flatnonzero(np.asarray(pc.binary_length(bodies)) > 0).tolist():
        if row not in understood:
            found[row] = decode_any_value(bodies[row].as_py())
    private.add("body", {row: jsonable(body) for row, body in found.items()})
    private.add("body_typed", {row: to_otlp_json(body) for row, body in found.items() if needs_type(body)})
