"""OTLP requests for tests: strategies that make odd ones, builders for plain ones, and captured payloads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

PAYLOADS = Path(__file__).parents[1] / "payloads"


@dataclass(frozen=True)
class Accepted:
    """A journal record as far as decoding is concerned."""

    body: bytes
    tenant: str = "default"
    key_label: str | None = None
    received_ns: int = 1_763_000_000_000_001_999


def captured(pattern: str) -> list[Accepted]:
    """Payloads captured from real senders, in order of their names."""
    return [Accepted(path.read_bytes()) for path in sorted(PAYLOADS.glob(pattern))]


def any_value(value: Any) -> AnyValue:
    if value is None:
        return AnyValue()
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
    return AnyValue(kvlist_value=KeyValueList(values=key_values(value)))


def key_values(attributes: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def span(attributes: dict[str, Any] | None = None, **fields: Any) -> Span:
    fields = {"trace_id": b"\x01" * 16, "span_id": b"\x02" * 8, "name": "chat", "kind": 3} | fields
    return Span(attributes=key_values(attributes or {}), **fields)


def trace_request(*spans: Span, resource: dict[str, Any] | None = None, **scope: Any) -> Accepted:
    request = ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=key_values(resource or {})),
                schema_url="https://opentelemetry.io/schemas/1.37.0",
                scope_spans=[ScopeSpans(scope=InstrumentationScope(**scope), spans=spans, schema_url="scope-url")],
            )
        ]
    )
    return Accepted(request.SerializeToString())


def log_request(*logs: LogRecord, resource: dict[str, Any] | None = None) -> Accepted:
    scopes = [ScopeLogs(scope=InstrumentationScope(name="events"), log_records=logs)]
    request = ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(resource=Resource(attributes=key_values(resource or {})), scope_logs=scopes)]
    )
    return Accepted(request.SerializeToString())


TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
SCALARS = st.one_of(
    TEXTS,
    st.sampled_from(["", "x" * 127, "x" * 128, "é" * 129, '"quoted" \\ and\nlines\0', "long " * 60, "y" * 17_000]),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(max_size=20),
    st.none(),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
KEYS = st.sampled_from(
    [
        "gen_ai.request.model", "gen_ai.usage.input_tokens", "gen_ai.response.finish_reasons", "gen_ai.request.stream",
        "user.id", "gen_ai.input.messages", "app.note", "exception.message", "db.statement", "input.value",
    ]
)  # fmt: skip
ATTRIBUTES = st.dictionaries(KEYS | TEXTS, VALUES, max_size=6)
UINT32 = st.integers(0, 2**32 - 1)
TIMES = st.sampled_from([0, 1, 999, 1_763_501_811_172_823_460, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    event = st.builds(
        Span.Event, name=st.sampled_from(["exception", "gen_ai.choice", ""]) | TEXTS, time_unix_nano=TIMES,
        attributes=ATTRIBUTES.map(key_values), dropped_attributes_count=UINT32,
    )  # fmt: skip
    link = st.builds(
        Span.Link, trace_id=st.binary(min_size=16, max_size=16), span_id=st.binary(min_size=8, max_size=8),
        trace_state=TEXTS, attributes=ATTRIBUTES.map(key_values), flags=UINT32, dropped_attributes_count=UINT32,
    )  # fmt: skip
    attributes = key_values(draw(ATTRIBUTES))
    if draw(st.booleans()):
        attributes += key_values(draw(ATTRIBUTES))  # some keys twice
    return Span(
        trace_id=draw(st.binary(max_size=17)), span_id=draw(st.binary(max_size=9)),
        parent_span_id=draw(st.sampled_from([b"", bytes(8)]) | st.binary(max_size=9)), trace_state=draw(TEXTS),
        name=draw(TEXTS), kind=draw(st.integers(0, 7)), start_time_unix_nano=draw(TIMES),
        end_time_unix_nano=draw(TIMES), attributes=attributes, events=draw(st.lists(event, max_size=2)),
        links=draw(st.lists(link, max_size=2)),
        status=draw(st.none() | st.builds(Status, message=TEXTS, code=st.integers(0, 3))), flags=draw(UINT32),
        dropped_attributes_count=draw(UINT32), dropped_events_count=draw(UINT32), dropped_links_count=draw(UINT32),
    )  # type: ignore[arg-type] # fmt: skip


@st.composite
def trace_requests(draw: st.DrawFn) -> list[Accepted]:
    """A few requests of a few spans, from different resources and scopes; some empty."""
    request = st.builds(
        lambda items, resource, scope: trace_request(*items, resource=resource, attributes=key_values(scope)),
        st.lists(spans(), max_size=3), ATTRIBUTES, ATTRIBUTES,
    )  # fmt: skip
    return draw(st.lists(request, min_size=1, max_size=3))


def same(one: Any, other: Any) -> bool:
    """Equal with equal types, all the way down; NaN equals NaN and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one.hex() == other.hex()
    return bool(one == other)
