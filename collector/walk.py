"""The same reading as `collector/decode.py` by protobuf's own parser, one message at a time: slow and obvious.

Tests hold the column reader against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanfold.semconv.origins import read_origin
from spanfold.semconv.records import LogBatch, Record, Resource, SpanBatch, attribute_columns

_SPAN = {
    "trace_id": pa.binary(), "span_id": pa.binary(), "parent_span_id": pa.binary(), "trace_state": pa.string(),
    "name": pa.string(), "kind": pa.uint32(), "start_ns": pa.uint64(), "end_ns": pa.uint64(), "flags": pa.uint32(),
    "dropped_attributes": pa.uint32(), "dropped_events": pa.uint32(), "dropped_links": pa.uint32(),
    "events": pa.list_(pa.binary()), "links": pa.list_(pa.binary()), "status_code": pa.uint32(),
    "status_message": pa.string(), "origin": pa.int32(),
}  # fmt: skip
_LOG = {
    "trace_id": pa.binary(), "span_id": pa.binary(), "time_ns": pa.uint64(), "observed_ns": pa.uint64(),
    "severity_number": pa.int32(), "severity_text": pa.string(), "event_name": pa.string(), "body": pa.binary(),
    "flags": pa.uint32(), "dropped_attributes": pa.uint32(), "origin": pa.int32(),
}  # fmt: skip


def walk_spans(records: Sequence[Record]) -> SpanBatch:
    """As `decode.decode_spans`. Raises ValueError if a body is not a valid request."""
    rows, attributes, origins = _walk(records, ExportTraceServiceRequest, "spans", _span_row)
    return SpanBatch(columns=_table(rows, _SPAN), attributes=attribute_columns(attributes), origins=origins)


def walk_logs(records: Sequence[Record]) -> LogBatch:
    """As `decode.decode_logs`. Raises ValueError if a body is not a valid request."""
    rows, attributes, origins = _walk(records, ExportLogsServiceRequest, "logs", _log_row)
    return LogBatch(columns=_table(rows, _LOG), attributes=attribute_columns(attributes), origins=origins)


def _walk(
    records: Sequence[Record], request: Any, signal: str, row: Any
) -> tuple[list[Any], list[Any], list[Resource]]:
    rows: list[dict[str, Any]] = []
    attributes: list[Any] = []
    origins: list[Resource] = []
    items = {"spans": "spans", "logs": "log_records"}[signal]
    for record in records:
        try:
            message = request.FromString(record.body)
        except DecodeError as error:
            raise ValueError(f"not a valid OTLP {signal} request: {error}") from error
        for resource in getattr(message, f"resource_{signal}"):
            for scope in getattr(resource, f"scope_{signal}"):
                for item in getattr(scope, items):
                    rows.append(row(item) | {"origin": len(origins)})
                    attributes.append(item.attributes)
                origins.append(read_origin(record, resource, scope))
    return rows, attributes, origins


def _span_row(span: Any) -> dict[str, Any]:
    return {
        "trace_id": span.trace_id, "span_id": span.span_id, "parent_span_id": span.parent_span_id,
        "trace_state": span.trace_state, "name": span.name, "kind": span.kind & 0xFFFFFFFF,
        "start_ns": span.start_time_unix_nano, "end_ns": span.end_time_unix_nano, "flags": span.flags,
        "dropped_attributes": span.dropped_attributes_count, "dropped_events": span.dropped_events_count,
        "dropped_links": span.dropped_links_count, "events": [event.SerializeToString() for event in span.events],
        "links": [link.SerializeToString() for link in span.links], "status_code": span.status.code & 0xFFFFFFFF,
        "status_message": span.status.message,
    }  # fmt: skip


def _log_row(log: Any) -> dict[str, Any]:
    return {
        "trace_id": log.trace_id, "span_id": log.span_id, "time_ns": log.time_unix_nano,
        "observed_ns": log.observed_time_unix_nano, "severity_number": log.severity_number,
        "severity_text": log.severity_text, "event_name": log.event_name, "body": log.body.SerializeToString(),
        "flags": log.flags, "dropped_attributes": log.dropped_attributes_count,
    }  # fmt: skip


def _table(rows: list[dict[str, Any]], types: dict[str, pa.DataType]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()})
