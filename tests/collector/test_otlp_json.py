"""OTLP/JSON is read by the rules of OTLP, with the official package as the oracle."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto_json.collector.trace.v1 import trace_service as official

from spanfold.collector.answers import Code, Refused
from spanfold.collector.otlp_json import to_protobuf, without_halves

IDS = {"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174"}


def envelope(**span: Any) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def read(**span: Any) -> Span:
    request = ExportTraceServiceRequest.FromString(to_protobuf(ExportTraceServiceRequest, envelope(**span)))
    return request.resource_spans[0].scope_spans[0].spans[0]


def value(**any_value: Any) -> AnyValue:
    return read(attributes=[{"key": "k", "value": any_value}]).attributes[0].value


def test_ids_are_hexadecimal_in_any_case() -> None:
    """Ids are hex, upper or lower case alike, and become 16 and 8 bytes (47, 48)."""
    upper, lower = read(**IDS), read(**{key: text.lower() for key, text in IDS.items()})
    assert upper == lower
    assert upper.trace_id == bytes.fromhex(IDS["traceId"])
    assert (len(upper.trace_id), len(upper.span_id)) == (16, 8)


def test_the_whole_of_a_span() -> None:
    """Every field of a span arrives, times as strings or numbers (52, 62)."""
    got = read(
        **IDS, parentSpanId="EEE19B7EC3C1B173", name="I'm a server span", kind=2, traceState="a=b", flags=257,
        startTimeUnixNano="1544712660000000000", endTimeUnixNano=1544712661000000000, droppedAttributesCount=1,
        droppedEventsCount=2, droppedLinksCount=3, status={"code": 2, "message": "no"},
        events=[{"timeUnixNano": "5", "name": "e", "attributes": [{"key": "a", "value": {"boolValue": True}}]}],
        links=[{**IDS, "traceState": "x=y", "flags": 1}],
    )  # fmt: skip
    expected = Span(
        trace_id=bytes.fromhex(IDS["traceId"]), span_id=bytes.fromhex(IDS["spanId"]), name="I'm a server span", kind=2,
        parent_span_id=bytes.fromhex("EEE19B7EC3C1B173"), trace_state="a=b", flags=257, dropped_attributes_count=1,
        start_time_unix_nano=1544712660000000000, end_time_unix_nano=1544712661000000000, dropped_events_count=2,
        dropped_links_count=3,
    )  # fmt: skip
    expected.status.code, expected.status.message = 2, "no"
    expected.events.add(time_unix_nano=5, name="e").attributes.add(key="a").value.bool_value = True
    expected.links.add(trace_id=expected.trace_id, span_id=expected.span_id, trace_state="x=y", flags=1)
    assert got == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"stringValue": ""}, AnyValue(string_value="")),
        ({"boolValue": False}, AnyValue(bool_value=False)),
        ({"intValue": "-10"}, AnyValue(int_value=-10)),
        ({"intValue": 10}, AnyValue(int_value=10)),
        ({"intValue": "9223372036854775807"}, AnyValue(int_value=2**63 - 1)),
        ({"doubleValue": 1}, AnyValue(double_value=1.0)),
        ({"doubleValue": "Infinity"}, AnyValue(double_value=math.inf)),
        ({"doubleValue": "-Infinity"}, AnyValue(double_value=-math.inf)),
        ({"bytesValue": "aGk="}, AnyValue(bytes_value=b"hi")),
        ({"bytesValue": "aGk"}, AnyValue(bytes_value=b"hi")),
        ({"bytesValue": "-_-_"}, AnyValue(bytes_value=b"\xfb\xff\xbf")),
        ({"arrayValue": {}}, AnyValue(array_value={})),
        ({"kvlistValue": {"values": []}}, AnyValue(kvlist_value={})),
        ({}, AnyValue()),
    ],
)  # fmt: skip
def test_values_keep_their_kind(sent: dict[str, Any], expected: AnyValue) -> None:
    """Every kind of value stays distinct, the unset one too (52 to 54, 58)."""
    got = value(**sent)
    assert got == expected
    assert got.WhichOneof("value") == expected.WhichOneof("value")


def test_not_a_number() -> None:
    """NaN arrives as such (54)."""
    assert math.isnan(value(doubleValue="NaN").double_value)


def test_unknown_snake_case_and_null_are_absent() -> None:
    """Unknown and snake_case keys are ignored at every level, null means absent (50, 51, 55)."""
    got = read(**IDS, name=None, trace_state="a=b", parent_span_id="00", future={"x": [1]}, events=None,
               attributes=[{"key": "k", "value": {"string_value": "s"}, "more": 1}])  # fmt: skip
    assert got == read(**IDS, attributes=[{"key": "k", "value": {}}])


def test_unknown_enum_numbers_are_kept() -> None:
    """An enum number of a later OTLP stays (49, 57)."""
    assert read(kind=77).kind == 77


@pytest.mark.parametrize(
    "span",
    [
        {"kind": "SPAN_KIND_SERVER"}, {"kind": True}, {"kind": "2"}, {"name": 5}, {"traceId": "xyz"},
        {"traceId": "abc"},
        {"traceId": 7}, {"startTimeUnixNano": "1.5"}, {"startTimeUnixNano": "-1"}, {"startTimeUnixNano": 1.5},
        {"startTimeUnixNano": "1_000"}, {"startTimeUnixNano": " 5"}, {"startTimeUnixNano": "٣"},
        {"startTimeUnixNano": "9" * 5000},
        {"startTimeUnixNano": str(2**64)}, {"flags": 2**40}, {"attributes": {}}, {"attributes": [1]}, {"status": []},
        {"attributes": [{"key": "k", "value": {"bytesValue": "!"}}]},
        {"attributes": [{"key": "k", "value": {"intValue": True}}]},
        {"attributes": [{"key": "k", "value": {"doubleValue": "many"}}]},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_otlp_json(span: dict[str, Any]) -> None:
    """Names of enums, odd hex, wrong types and numbers out of range are the sender's fault (49)."""
    with pytest.raises(Refused) as caught:
        to_protobuf(ExportTraceServiceRequest, envelope(**span))
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert not caught.value.transient


def test_texts_that_were_cut_within_a_character_are_kept() -> None:
    """Half of a surrogate pair becomes U+FFFD, whole pairs and escaped backslashes stay, and the sender is told."""
    body = envelope(name="a", traceState="x").replace(b'"a"', rb'"\ud83d\ude00 \ud83d \uDE00 \\ud83d \\\ud800"')
    mended, told = without_halves(body)
    request = ExportTraceServiceRequest.FromString(to_protobuf(ExportTraceServiceRequest, mended))
    assert request.resource_spans[0].scope_spans[0].spans[0].name == "😀 \ufffd \ufffd \\ud83d \\\ufffd"
    assert told == "characters that were cut in half, replaced: 3"
    assert without_halves(envelope(name="a")) == (envelope(name="a"), "")


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"stringValue": "x"}
    for _ in range(levels):
        inner = {"arrayValue": {"values": [inner]}}
    return inner


def test_deep_values_that_protobuf_can_hold() -> None:
    """40 levels of arrays are kept."""
    assert value(**nested(40)).WhichOneof("value") == "array_value"


def test_logs_and_metrics() -> None:
    """The other signals follow the same rules."""
    log = {"timeUnixNano": "7", "severityNumber": 9, "body": {"stringValue": "hi"}, **IDS, "eventName": "e"}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [log]}]}]}).encode()
    record = ExportLogsServiceRequest.FromString(to_protobuf(ExportLogsServiceRequest, body))
    (got,) = record.resource_logs[0].scope_logs[0].log_records
    assert (got.time_unix_nano, got.severity_number, got.body.string_value, got.event_name) == (7, 9, "hi", "e")
    point = {"count": "3", "sum": 4.5, "bucketCounts": ["1", 2], "explicitBounds": [1, "Infinity"]}
    metric = {"name": "m", "histogram": {"aggregationTemporality": 2, "dataPoints": [point]}}
    body = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}).encode()
    request = ExportMetricsServiceRequest.FromString(to_protobuf(ExportMetricsServiceRequest, body))
    (kept,) = request.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points
    assert (kept.count, kept.sum, list(kept.bucket_counts), list(kept.explicit_bounds)) == (
        3,
        4.5,
        [1, 2],
        [1, math.inf],
    )


_values = st.deferred(
    lambda: st.one_of(
        st.builds(lambda v: {"stringValue": v}, st.text(max_size=8)),
        st.builds(lambda v: {"boolValue": v}, st.booleans()),
        st.builds(lambda v: {"intValue": str(v)}, st.integers(-(2**63), 2**63 - 1)),
        st.builds(lambda v: {"doubleValue": v}, st.floats(allow_nan=False, allow_infinity=False)),
        st.builds(lambda v: {"arrayValue": {"values": v}}, st.lists(_values, max_size=3)),
        st.builds(
            lambda v: {"kvlistValue": {"values": v}},
            st.lists(st.builds(lambda k, v: {"key": k, "value": v}, st.text(max_size=4), _values), max_size=3),
        ),
        st.just({}),
    )
)
_attributes = st.lists(st.builds(lambda k, v: {"key": k, "value": v}, st.text(max_size=5), _values), max_size=4)
_spans = st.fixed_dictionaries(
    {
        "traceId": st.binary(min_size=16, max_size=16).map(bytes.hex),
        "spanId": st.binary(min_size=8, max_size=8).map(bytes.hex),
        "name": st.text(max_size=10),
        "kind": st.integers(0, 5),
        "startTimeUnixNano": st.integers(0, 2**64 - 1).map(str),
        "attributes": _attributes,
        "unknown": st.integers() | st.none(),
    }
)


@settings(max_examples=60)
@given(spans=st.lists(_spans, max_size=3), resource=_attributes)
def test_agrees_with_the_official_reader(spans: list[dict[str, Any]], resource: list[dict[str, Any]]) -> None:
    """Reading a request gives what the official package reads, for any request."""
    data = {"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": [{"spans": spans}]}]}
    body = json.dumps(data).encode()
    oracle = official.ExportTraceServiceRequest.from_json(body)
    got = ExportTraceServiceRequest.FromString(to_protobuf(ExportTraceServiceRequest, body))
    ours = got.resource_spans[0].scope_spans[0].spans
    theirs = oracle.resource_spans[0].scope_spans[0].spans
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.trace_id, mine.span_id, mine.name) == (other.trace_id, other.span_id, other.name)
        assert (mine.kind, mine.start_time_unix_nano) == (int(other.kind or 0), other.start_time_unix_nano)
        assert [_plain(a.value) for a in mine.attributes] == [_official(a.value) for a in other.attributes]


def _plain(any_value: AnyValue) -> Any:
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(item) for item in any_value.array_value.values]
    if kind == "kvlist_value":
        return [(item.key, _plain(item.value)) for item in any_value.kvlist_value.values]
    return getattr(any_value, kind) if kind else None


def _official(any_value: Any) -> Any:
    if any_value.array_value is not None:
        return [_official(item) for item in any_value.array_value.values]
    if any_value.kvlist_value is not None:
        return [(item.key, _official(item.value)) for item in any_value.kvlist_value.values]
    plain = (any_value.string_value, any_value.bool_value, any_value.int_value, any_value.double_value)
    return next((item for item in plain if item is not None), None)
