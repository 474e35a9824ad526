"""Journal records to columns. The only place that knows how OTLP lies on the wire below the edge.

Everything is checked here: nested values, events and links as well, so that no later stage meets malformed bytes.
`collector/walk.py` is the same reading by protobuf's own parser, the oracle of the tests.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanfold.collector.wire import handler
from spanfold.semconv.anyvalue import decode_any_value
from spanfold.semconv.records import AttributeColumns, LogBatch, Record, Resource, SpanBatch
from spanfold.semconv.value_columns import canonical

_SPAN_FIELDS = (
    "trace_id", "span_id", "parent_span_id", "trace_state", "name", "kind", "start_ns", "end_ns", "flags",
    "dropped_attributes", "dropped_events", "dropped_links", "events", "links",
)  # fmt: skip
_LOG_FIELDS = (
    "trace_id", "span_id", "time_ns", "observed_ns", "severity_number", "severity_text", "event_name", "body",
    "flags", "dropped_attributes",
)  # fmt: skip


class JoinedBodies:
    """Bodies of requests behind each other in one buffer, as Arrow reads them, that is used again and again: memory
    that is touched for the first time costs more than what is done with it here. It is mapped beside the heap: room
    that is not used is not touched, and leaves no hole that later objects grow into."""

    def __init__(self, size: int) -> None:
        self._mapped = mmap.mmap(-1, size)
        self._data, self._ends = np.frombuffer(self._mapped, np.uint8), [0]

    def __len__(self) -> int:
        """In bytes."""
        return self._ends[-1]

    def clear(self) -> None:
        """Nothing that `array` gave may be held any more."""
        self._ends = [0]

    def give_back(self) -> None:
        """Clears it, and gives its memory to the system."""
        self._data, self._ends = np.frombuffer(self._mapped, np.uint8), [0]
        self._mapped.madvise(mmap.MADV_DONTNEED)

    def append(self, body: memoryview) -> None:
        start, end = self._ends[-1], self._ends[-1] + len(body)
        if end > len(self._data):
            self._data = np.concatenate((self._data[:start], np.empty(len(body), np.uint8)))
        self._data[start:end] = body
        self._ends.append(end)

    def array(self) -> pa.BinaryArray:
        ends, data = pa.py_buffer(np.array(self._ends, np.int32)), pa.py_buffer(self._data)
        return pa.BinaryArray.from_buffers(pa.binary(), len(self._ends) - 1, [None, ends, data])


def decode_spans(records: Sequence[Record], bodies: JoinedBodies | None = None) -> SpanBatch:
    """All spans of these trace requests, in order; `bodies` are theirs, where they were taken out of them. Raises
    ValueError if a body is not a valid request."""
    items, origin, origins = _open("Traces", records, bodies)
    columns = {name: items.field(name) for name in _SPAN_FIELDS}
    status = items.field("status")
    columns["status_code"] = pc.fill_null(status.field("code"), 0)
    columns["status_message"] = pc.fill_null(status.field("message"), "")
    columns["origin"] = pa.array(origin, pa.int32())
    _check(Span.Event, columns["events"])
    _check(Span.Link, columns["links"])
    return SpanBatch(columns=pa.table(columns), attributes=_attributes(items.field("attributes")), origins=origins)


def decode_logs(records: Sequence[Record]) -> LogBatch:
    """All log records of these log requests, in order. Raises ValueError if a body is not a valid request."""
    items, origin, origins = _open("Logs", records)
    columns = {name: items.field(name) for name in _LOG_FIELDS}
    columns["body"] = canonical(columns["body"])
    columns["origin"] = pa.array(origin, pa.int32())
    return LogBatch(columns=pa.table(columns), attributes=_attributes(items.field("attributes")), origins=origins)


def _open(
    message: str, records: Sequence[Record], bodies: JoinedBodies | None = None
) -> tuple[pa.StructArray, np.ndarray[Any, Any], list[Resource]]:
    """(flat items, origin index of each item, origins). An origin is one scope of one resource of one record."""
    try:  # not from a list: that takes longer
        batch = handler(message).array_to_record_batch(
            bodies.array() if bodies is not None else pa.array([record.body for record in records], pa.binary())
        )
    except Exception as error:  # ptars raises its own and protobuf's errors; all mean one thing
        raise ValueError(f"not a valid OTLP {message.lower()} request: {error}") from error
    resources, record_of = _flatten(batch.column(0), np.arange(len(records)))
    scopes, resource_of = _flatten(resources.field("scopes"), np.arange(len(resources)))
    items, scope_of = _flatten(scopes.field("items"), np.arange(len(scopes)))
    return items, scope_of.astype(np.int32), _origins(records, record_of, resources, resource_of, scopes)


def _flatten(lists: Any, owner: np.ndarray[Any, Any]) -> tuple[Any, np.ndarray[Any, Any]]:
    """The items of a list column and, for each, the owner of its list."""
    offsets = np.asarray(lists.offsets)
    values = lists.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    return values, np.repeat(owner, np.diff(offsets))


def _origins(
    records: Sequence[Record], record_of: Any, resources: Any, resource_of: Any, scopes: Any
) -> list[Resource]:
    attributes = [_plain(entries) for entries in resources.field("resource").field("attributes").to_pylist()]
    dropped = resources.field("resource").field("dropped_attributes").to_pylist()
    urls = resources.field("schema_url").to_pylist()
    scope_rows = scopes.field("scope").to_pylist()
    scope_urls = scopes.field("schema_url").to_pylist()
    out = []
    for index, resource in enumerate(resource_of.tolist()):
        record, scope = records[int(record_of[resource])], scope_rows[index] or {}
        out.append(
            Resource(
                attributes=attributes[resource],
                schema_url=urls[resource],
                scope_name=scope.get("name") or "",
                scope_version=scope.get("version") or "",
                scope_attributes=_plain(scope.get("attributes")),
                scope_schema_url=scope_urls[index],
                tenant=record.tenant,
                key_label=record.key_label,
                received_ns=record.received_ns,
                dropped_attributes=(dropped[resource] or 0) + (scope.get("dropped_attributes") or 0),
            )
        )
    return out


def _plain(entries: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {entry["key"]: decode_any_value(entry["value"]) for entry in entries or ()}


def _attributes(lists: Any) -> AttributeColumns:
    entries, rows = _flatten(lists, np.arange(len(lists)))
    keys = entries.field("key").dictionary_encode()
    return AttributeColumns(
        length=len(lists), keys=keys.dictionary.to_pylist(), codes=np.asarray(keys.indices).astype(np.int32),
        rows=rows.astype(np.int64), values=canonical(entries.field("value")),
    ).last_of_each()  # fmt: skip


def _check(kind: type[Message], lists: Any) -> None:
    """Raises ValueError if one of these messages is malformed."""
    for raw in lists.flatten().to_pylist():
        try:
            kind.FromString(raw)
        except DecodeError as error:
            raise ValueError(f"not a valid OTLP {kind.DESCRIPTOR.name.lower()}: {error}") from error
