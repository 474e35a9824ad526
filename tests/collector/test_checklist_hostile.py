"""Hostile connections and bytes: the number in brackets is that of the negative test, others are the checklist's."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanfold.collector import grpc_edge
from spanfold.collector.answers import Refused
from spanfold.collector.limits import Limits
from spanfold.collector.otlp_json import to_protobuf
from spanfold.collector.requests import _check
from spanfold.collector.server import Collector
from spanfold.collector.signals import TRACES
from tests.flow.running import wait_for

from .http2 import DATA, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, PING, RESET, call_headers, connected, frame, frames, reset
from .receiving import body_of, calling, post, request, running, span, stored, stored_spans

BODY = request(span(1)).SerializeToString()


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with running(tmp_path) as started:
        yield started


def test_a_grpc_sender_that_stalls_is_cut(tmp_path: Path) -> None:
    """71, [79]: calls whose messages do not come are ended after the time limit and counted as refused; another
    sender is served meanwhile."""
    limits = Limits(read_seconds=0.4)
    with running(tmp_path, limits=limits) as collector, connected(collector.grpc_port) as stalled:
        for stream in range(1, 41, 2):
            stalled.sendall(call_headers(stream) + frame(DATA, 0, stream, b"\0\0\0\0\x64" + b"ab"))
        began = time.monotonic()
        with calling(collector) as export:
            assert export(BODY, timeout=10, wait_for_ready=True) == b""
        assert first_ends(frames(stalled), 20) == set(range(1, 41, 2))
        assert time.monotonic() - began < 8
        expected = {"accepted": 1, "rejected": 0, "refused": 20}
        wait_for(
            lambda: collector.counters.snapshot()["traces"]["requests"] == expected, 5, "the count of the last ones"
        )
    assert [record.body for record in stored(tmp_path)] == [BODY]


def test_many_stalled_senders_do_not_hold_the_edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """71, [79]: when most threads wait for messages, the slowest are cut long before the time limit of a message."""
    monkeypatch.setattr(grpc_edge, "_THREADS", 4)
    monkeypatch.setattr(grpc_edge, "CROWDED_SECONDS", 0.3)
    with running(tmp_path, limits=Limits()) as collector, connected(collector.grpc_port) as stalled:
        for stream in range(1, 9, 2):
            stalled.sendall(call_headers(stream) + frame(DATA, 0, stream, b"\0\0\0\0\x64" + b"ab"))
        assert first_ends(frames(stalled), 1)
        with calling(collector) as export:
            assert export(BODY, timeout=10) == b""
    assert [record.body for record in stored(tmp_path)] == [BODY]


def test_bodies_that_are_being_sent_are_bounded(tmp_path: Path) -> None:
    """43, [79]: the bytes of bodies that are not whole yet count, too: beyond `in_flight_bytes` senders are told to
    come back, and with room again they are served."""
    body = body_of(90_000)
    head = b"POST /v1/traces HTTP/1.1\r\nContent-Type: application/x-protobuf\r\nContent-Length: 90000\r\n\r\n"
    with running(tmp_path, limits=Limits(in_flight_bytes=150_000)) as collector:
        with socket.create_connection(("127.0.0.1", collector.http_port), timeout=5) as slow:
            slow.sendall(head + body[:-1])
            wait_for(lambda: post(collector, body)[0] == 503, 5, "a refusal")
            slow.sendall(body[-1:])
            assert slow.recv(100).startswith(b"HTTP/1.1 200 ")
        assert post(collector, body)[0] == 200
    assert {record.body for record in stored(tmp_path)} == {body}


def first_ends(received: Iterator[tuple[int, int, bytes]], count: int) -> set[int]:
    """The streams that are ended first, by trailers or a reset."""
    ended: set[int] = set()
    for kind, stream, _ in received:
        if kind in (HEADERS, RESET):
            ended.add(stream)
        if len(ended) == count:
            break
    return ended


def test_calls_that_are_reset_at_once(tmp_path: Path) -> None:
    """[80] Ten thousand calls opened and reset on one connection store nothing and cost little: others are served at
    once, or after the retry that CANCELLED asks for (gRPC drops early when a thousand calls wait)."""
    with running(tmp_path, limits=Limits()) as collector, connected(collector.grpc_port) as hostile:
        try:
            for stream in range(1, 20_001, 2):
                hostile.sendall(call_headers(stream) + reset(stream))
        except ConnectionError:
            pass  # the server has had enough
        began = time.monotonic()
        assert post(collector, BODY)[0] == 200
        with calling(collector) as export:
            wait_for(lambda: export.future(BODY, timeout=10).exception() is None, 5, "an answer", poll=0.1)
        assert time.monotonic() - began < 5
    assert len(stored(tmp_path)) == 2


def test_a_flood_of_pings(collector: Collector) -> None:
    """74, [80]: who pings a thousand times a second is told to calm down and disconnected; others are served."""
    with connected(collector.grpc_port) as hostile:
        try:
            for number in range(1000):
                hostile.sendall(frame(PING, 0, 0, number.to_bytes(8, "big")))
        except ConnectionError:
            pass
        told = [content for kind, _, content in frames(hostile) if kind == GOAWAY]
        assert int.from_bytes(told[-1][4:8], "big") == ENHANCE_YOUR_CALM
    with calling(collector) as export:
        assert export(BODY, timeout=10) == b""


def test_nothing_is_readable_by_others(tmp_path: Path, collector: Collector) -> None:
    """[83] Journal, keys and status lie in directories, or are files, of their owner alone."""
    assert post(collector, BODY)[0] == 200
    open_to_all = [
        str(path.relative_to(tmp_path))
        for path in tmp_path.rglob("*")
        if path.is_file() and not any(part.stat().st_mode & 0o077 == 0 for part in (path, path.parent))
    ]
    assert open_to_all == []


def test_log_lines_are_lines(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    """[81] No line of a log is a sender's: paths, headers and names with line ends make none."""
    post(collector, request(span(1, name="a\r\nERROR forged")).SerializeToString(), x_spanfold_tenant="a\tb")
    post(collector, BODY[:-3], path="/v1/traces%0d%0aERROR%20forged")
    post(collector, BODY[:-3])
    assert not [record for record in caplog.records if "forged" in record.getMessage()]


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=6)
    | st.sampled_from(["NaN", "1e999", "-1", "ff", "é", "0x1", "SPAN_KIND_SERVER"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["resourceSpans", "scopeSpans", "spans", "resource", "scope", "attributes", "key", "value", "traceId",
             "spanId", "kind", "flags", "startTimeUnixNano", "events", "links", "status", "code", "name", "intValue",
             "doubleValue", "bytesValue", "arrayValue", "kvlistValue", "values", "boolValue", "stringValue", "other"]
        ),
        inner, max_size=4,
    ),
    max_leaves=25,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(data=_json)
def test_any_json_is_read_or_refused(data: Any) -> None:
    """[28] Whatever JSON says below `resourceSpans`, `spans` and `value`, it is a request or the sender's fault."""
    for wrapped in (
        data, {"resourceSpans": [data]}, {"resourceSpans": [{"scopeSpans": [{"spans": [data]}]}]},
        {"resourceSpans": [{"resource": {"attributes": [{"key": "k", "value": data}]}}]},
    ):  # fmt: skip
        try:
            encoded = to_protobuf(ExportTraceServiceRequest, json.dumps(wrapped).encode())
        except Refused:
            continue
        ExportTraceServiceRequest.FromString(encoded)


def test_what_was_stored_already_is_counted(tmp_path: Path, collector: Collector) -> None:
    """84, 37: `/metrics` tells the items that were sent again, as the folder has counted them."""
    (tmp_path / "run" / "folder.json").write_text('{"counters": {"duplicates": 7, "duplicate_logs": 2}}')
    found = dict(re.findall(r'spanfold_resent_items_total\{signal="(\w+)"\} (\d+)', metrics_of(collector)))
    assert found == {"traces": "7", "logs": "2", "metrics": "0"}
    assert len(stored_spans(tmp_path)) == 0


def metrics_of(collector: Collector) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", collector.http_port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


WHOLE = request(*(span(number) for number in range(1, 4))).SerializeToString()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=8), st.data())
def test_any_bytes_are_read_or_refused(changes: list[tuple[int, int]], data: st.DataObject) -> None:
    """[28] A request with bytes changed and cut off anywhere is understood or refused for good, by the check and by the
    reader of what was kept; nothing else is raised."""
    body = bytearray(WHOLE)
    for at, byte in changes:
        body[at] = byte
    broken = bytes(body[: data.draw(st.integers(0, len(body)))])
    try:
        checked, kept = _check(TRACES, broken)
    except Refused as refused:
        problem: Refused | None = refused
    else:
        problem = None
    if problem is not None:
        assert not problem.transient
        return
    again, same = _check(TRACES, kept)
    assert (again.kept, again.rejected, same) == (checked.kept, 0, kept)
