"""A stored span as it came: the decoded batch that the normaliser reads, made again from a row of the view `spans`.

Everything but understood content is there (semconv/restore.py); what redaction changed stays changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanfold.semconv.records import Resource, SpanBatch, attribute_columns
from spanfold.semconv.restore import restore_attributes, restore_events

Row = Mapping[str, Any]


def any_value(value: Any) -> AnyValue:
    """The protobuf message of a plain value."""
    if value is None:
        return AnyValue()
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    out = AnyValue()
    if isinstance(value, list):
        out.array_value.SetInParent()
        out.array_value.values.extend(any_value(item) for item in value)
    elif isinstance(value, Mapping):
        out.kvlist_value.SetInParent()
        out.kvlist_value.values.extend(key_values(value))
    else:
        out.string_value = str(value)
    return out


def key_values(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def rebuilt_batch(rows: Sequence[Row], privates: Sequence[Row]) -> SpanBatch:
    """One batch of these rows of the view `spans`, each with its private object ({} where it may not be read)."""
    events = [
        [_event(event).SerializeToString() for event in restore_events(row, private)]
        for row, private in zip(rows, privates, strict=True)
    ]
    attributes = [restore_attributes(row, private) for row, private in zip(rows, privates, strict=True)]
    columns = pa.table(
        {
            "name": pa.array([row["name"] or "" for row in rows], pa.string()),
            "start_ns": pa.array([_start_ns(row) for row in rows], pa.uint64()),
            "status_code": pa.array([row["status_code"] or 0 for row in rows], pa.uint32()),
            "status_message": pa.array([private.get("status_message") or "" for private in privates], pa.string()),
            "dropped_attributes": pa.array([row["dropped_attributes"] or 0 for row in rows], pa.uint32()),
            "events": pa.array(events, pa.list_(pa.binary())),
            "origin": pa.array(range(len(rows)), pa.int32()),
        }
    )
    return SpanBatch(
        columns=columns,
        attributes=attribute_columns([key_values(values) for values in attributes]),
        origins=[_origin(row, private) for row, private in zip(rows, privates, strict=True)],
    )


def _event(event: Row) -> Span.Event:
    return Span.Event(
        name=event.get("name") or "", time_unix_nano=int(event.get("time_unix_nano") or 0),
        attributes=key_values(event["attributes"]), dropped_attributes_count=event.get("dropped_attributes_count") or 0,
    )  # fmt: skip


def _start_ns(row: Row) -> int:
    microseconds = pa.scalar(row["start_time"], pa.timestamp("us")).value
    return max(0, int(microseconds) * 1000 + int(row["start_nanos"] or 0))


def _origin(row: Row, private: Row) -> Resource:
    received = pa.scalar(row["received_time"], pa.timestamp("us")).value
    return Resource(
        attributes=_object(row["resource"]) | (private.get("resource") or {}),
        schema_url=row["resource_schema_url"] or "", scope_name=row["scope_name"] or "",
        scope_version=row["scope_version"] or "", scope_schema_url=row["scope_schema_url"] or "",
        scope_attributes=_object(row["scope_attributes"]) | (private.get("scope_attributes") or {}),
        tenant=row["tenant"], key_label=row["key_label"], received_ns=int(received or 0) * 1000,
    )  # fmt: skip


def _object(text: str | None) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(text) if text else {}
    return found
