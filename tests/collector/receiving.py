"""A running collector on free ports, and what the tests of its edges send to it."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanfold.collector.journal import JournalReader, JournalRecord, Position
from spanfold.collector.limits import Limits
from spanfold.collector.server import Collector, CollectorOptions
from spanfold.exporter.keys import Keyring

TRACE_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
LIMIT = 1 << 20


@contextmanager
def running(data: Path, **options: Any) -> Iterator[Collector]:
    """A collector with a request limit of 1 MiB, unless `limits` says otherwise."""
    keys = Keyring.open(data)
    settings: dict[str, Any] = {
        "grpc_port": 0, "http_port": 0, "disk_floor_bytes": 0, "segment_bytes": 4 << 20,
        "limits": Limits(request_bytes=LIMIT, read_seconds=1.0), **options,
    }  # fmt: skip
    collector = Collector(CollectorOptions(data=data, **settings), keys)
    try:
        yield collector
    finally:
        collector.stop()


def stored(data: Path) -> list[JournalRecord]:
    """Everything in the journal."""
    reader = JournalReader(data / "journal", Keyring.open(data))
    records, _ = reader.read(Position(0, 0), 1 << 30)
    reader.close()
    return [record for _, record in records]


def stored_spans(data: Path) -> list[Span]:
    """Every span in the journal."""
    return [
        span
        for record in stored(data)
        for resource in ExportTraceServiceRequest.FromString(record.body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def span(number: int, **fields: object) -> Span:
    made = Span(trace_id=number.to_bytes(16, "big"), span_id=number.to_bytes(8, "big"), name=f"span {number}")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def request(*spans: Span) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    made.resource_spans.add().scope_spans.add().spans.extend(spans)
    return made


def body_of(size: int) -> bytes:
    """A valid request of exactly `size` bytes."""
    padding = size
    while True:
        big = span(1, name="")
        big.attributes.append(KeyValue(key="pad", value=AnyValue(string_value="x" * padding)))
        body = request(big).SerializeToString()
        if len(body) == size:
            return body
        padding -= len(body) - size


def post(
    collector: Collector, body: bytes, content_type: str | None = PROTOBUF, path: str = "/v1/traces", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """(status, headers, body) of one POST; underscores in header names become hyphens."""
    connection = http.client.HTTPConnection("127.0.0.1", collector.http_port, timeout=20)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        sent["content-type"] = content_type
    try:
        connection.request("POST", path, body, sent)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@contextmanager
def calling(
    collector: Collector, method: str = TRACE_EXPORT, **options: object
) -> Iterator[grpc.UnaryUnaryMultiCallable]:
    """A raw gRPC call that sends and receives bytes."""
    with grpc.insecure_channel(f"127.0.0.1:{collector.grpc_port}", options=list(options.items())) as channel:
        yield channel.unary_unary(method)
