"""The column reader gives exactly what protobuf's own parser gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanfold.collector.decode import JoinedBodies, decode_logs, decode_spans
from spanfold.collector.walk import walk_logs, walk_spans
from spanfold.semconv.records import AttributeColumns
from tests.semconv.otlp import (
    ATTRIBUTES,
    TEXTS,
    TIMES,
    UINT32,
    VALUES,
    Accepted,
    any_value,
    captured,
    key_values,
    log_request,
    same,
    span,
    trace_request,
    trace_requests,
)  # fmt: skip


def rows(batch: Any) -> list[tuple[Any, ...]]:
    """Everything in a batch, one tuple a row."""
    columns = batch.columns.select(sorted(batch.columns.column_names)).to_pylist()
    for row in columns:  # some senders write fields that are zero, the oracle does not: the same message
        for name, kind in (("events", Span.Event), ("links", Span.Link)):
            if name in row:
                row[name] = [kind.FromString(raw).SerializeToString() for raw in row[name]]
    origins = [batch.origins[row["origin"]] for row in columns]
    attributes = by_row(batch.attributes)
    return list(zip(columns, attributes, [vars_of(origin) for origin in origins], strict=True))


def by_row(attributes: AttributeColumns) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = [{} for _ in range(attributes.length)]
    values = attributes.decode(np.arange(len(attributes.rows)))
    for row, code, value in zip(attributes.rows, attributes.codes, values, strict=True):
        assert attributes.keys[code] not in out[row]
        out[row][attributes.keys[code]] = value
    return out


def vars_of(origin: Any) -> dict[str, Any]:
    return {name: getattr(origin, name) for name in type(origin).__slots__}


@pytest.mark.parametrize("pattern", ["*/*-traces-*.pb"])
def test_captured_spans(pattern: str) -> None:
    """Payloads of real senders read the same both ways, alone and together."""
    records = captured(pattern)
    assert len(records) > 8
    assert rows(decode_spans(records)) == rows(walk_spans(records))
    for record in records:
        assert rows(decode_spans([record])) == rows(walk_spans([record]))


def test_captured_logs() -> None:
    """Captured log requests read the same both ways."""
    records = captured("*/*-logs-*.pb")
    assert len(records) > 4
    assert rows(decode_logs(records)) == rows(walk_logs(records))


@settings(max_examples=40, deadline=None)
@given(trace_requests())
def test_any_spans(records: list[Accepted]) -> None:
    """Whatever a span holds, both readers give the same: nested, unset and repeated values, odd ids and times."""
    assert same(rows(decode_spans(records)), rows(walk_spans(records)))


@settings(max_examples=80, deadline=None)
@given(
    st.builds(
        LogRecord, time_unix_nano=TIMES, observed_time_unix_nano=TIMES, severity_number=st.integers(0, 25),
        severity_text=TEXTS, body=st.none() | VALUES.map(any_value), attributes=ATTRIBUTES.map(key_values),
        dropped_attributes_count=UINT32, flags=UINT32, trace_id=st.binary(max_size=17), span_id=st.binary(max_size=9),
        event_name=TEXTS,
    )
)  # fmt: skip
def test_any_log(log: LogRecord) -> None:
    """Whatever a log record holds, both readers give the same."""
    records = [log_request(log, log)]
    assert same(rows(decode_logs(records)), rows(walk_logs(records)))


@settings(max_examples=20, deadline=None)
@given(trace_requests(), trace_requests())
def test_bodies_in_a_buffer_that_is_used_again(records: list[Accepted], others: list[Accepted]) -> None:
    """Bodies that were taken out of their records read the same; what was read stays when the next ones overwrite
    them, also where they are larger than the buffer."""
    bodies, seen = JoinedBodies(256), []
    for some, empty in ((records, bodies.clear), (others, bodies.clear), (records, bodies.give_back)):
        empty()
        for record in some:
            bodies.append(memoryview(record.body))
        assert len(bodies) == sum(len(record.body) for record in some)
        seen.append(decode_spans([replace(record, body=b"") for record in some], bodies))
    bodies.clear()
    bodies.append(memoryview(bytes(100_000)))
    assert same([rows(batch) for batch in seen], [rows(walk_spans(some)) for some in (records, others, records)])


def test_nothing_in_a_request() -> None:
    """An empty request has no spans and is no error."""
    batch = decode_spans([Accepted(b""), trace_request()])
    assert len(batch.columns) == 0
    assert batch.attributes.length == 0
    assert len(decode_logs([Accepted(b"")]).columns) == 0
    assert len(decode_spans([]).columns) == 0


def test_last_of_a_repeated_key() -> None:
    """Of a key that stands twice in one span the last value stays, in its own place."""
    item = span({"a": 1, "b": "x"})
    item.attributes.extend(key_values({"a": "two"}))
    batch = decode_spans([trace_request(span({"a": 0}), item)])
    assert by_row(batch.attributes) == [{"a": 0}, {"a": "two", "b": "x"}]
    assert batch.attributes.rows.tolist() == [0, 1, 1]


def raw_attribute(value: bytes) -> bytes:
    """A trace request with one span with one attribute `k` whose AnyValue is these bytes."""

    def field(number: int, payload: bytes) -> bytes:
        return bytes([number << 3 | 2, len(payload)]) + payload

    return field(1, field(2, field(2, field(9, field(1, b"k") + field(2, value)))))


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"\x0a\x85\x00hello", "hello"),  # a length longer than it need be
        (b"\x0a\x01a\x18\x07", 7),  # of two fields of one choice the last counts
        (b"\x18\x07\x0a\x01a", "a"),
        (b"\x18\x85\x80\x00", 5),
        (b"\x10\x80\x01", True),
        (b"\x0a\x01a\xba\x06\x01z", "a"),  # a field that OTLP does not know
        (b"\x2a\x04\x0a\x02\x18\x01\x2a\x04\x0a\x02\x18\x02", [1, 2]),  # lists in two parts
        (b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", -1),
        (b"\x0a\x00", ""),
        (b"", None),
    ],
)
def test_odd_encodings(raw: bytes, value: Any) -> None:
    """A value in an encoding that no usual sender writes is read as protobuf reads it."""
    batch = decode_spans([Accepted(raw_attribute(raw)), trace_request(span({"k": "é" * 100, "l": 3}))])
    assert by_row(batch.attributes) == [{"k": value}, {"k": "é" * 100, "l": 3}]
    if isinstance(value, str):
        assert batch.attributes.strings("k")[1].to_pylist() == [value, "é" * 100]
    elif isinstance(value, int) and not isinstance(value, bool):
        assert batch.attributes.integers("k")[1].tolist() == [value]


@pytest.mark.parametrize(
    "raw",
    [
        b"\x0a\x05hell",
        b"\x0a\x02\xff\xfe",
        b"\x0a\x03\xed\xa0\x80",
        b"\x18",
        b"\x18\x80",
        b"\x21\x00",
        b"\x2a\x02\x0a",
        b"\x2a\x05\x0a\x03\x0a\x01\xff",
        b"\x18" + b"\xff" * 11,
    ],
)
def test_damaged_values(raw: bytes) -> None:
    """A malformed value, also one deep inside or with text that is not UTF-8, makes the request invalid."""
    with pytest.raises(ValueError, match="not a valid OTLP"):
        decode_spans([Accepted(raw_attribute(raw))])
    with pytest.raises(ValueError, match="not a valid OTLP"):
        walk_spans([Accepted(raw_attribute(raw))])


CAPTURED = captured("official-openai-span/tools-traces-001.pb")[0].body
WITH_EVENTS = trace_request(
    span({"a": ["x", {"b": 1}]}, events=[{"name": "e", "attributes": key_values({"k": "v"})}], links=[{"flags": 7}]),
    resource={"service.name": "s"},
).body


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([CAPTURED, WITH_EVENTS]), st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 10**6)
)  # fmt: skip
@example(WITH_EVENTS, 0, 0x0A, len(WITH_EVENTS) - 3)
def test_damaged_bodies(body: bytes, place: int, byte: int, cut: int) -> None:
    """A body with a wrong byte or a torn end raises ValueError where protobuf refuses it, and nothing else ever."""
    damaged = bytearray(body)
    damaged[place % len(body)] = byte
    record = Accepted(bytes(damaged[: cut % (2 * len(body)) + 1]))
    try:
        ExportTraceServiceRequest.FromString(record.body)
    except DecodeError:
        try:
            decode_spans([record])  # it may be laxer, about fields that it does not read
        except ValueError as error:
            assert "not a valid OTLP" in str(error)  # noqa: PT017
        return
    assert same(rows(decode_spans([record])), rows(walk_spans([record])))
