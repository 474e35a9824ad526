"""Items of the OTLP receiver checklist (docs/receiving.md) about transport, limits, answers and recovery that the tests
of the two edges do not have. The number in a docstring is the item's; in brackets, that of a negative test."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from spanfold.collector.journal import Journal
from spanfold.collector.server import Collector
from spanfold.sending_access import collector_options
from spanfold.settings import Settings

from .receiving import (
    JSON,
    LIMIT,
    PROTOBUF,
    body_of,
    calling,
    post,
    request,
    running,
    span,
    stored,
    stored_spans,
)

BODY = request(span(1)).SerializeToString()
IDS = '"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174"'


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with running(tmp_path) as started:
        yield started


def raw(collector: Collector, sent: bytes) -> bytes:
    """The head and body of the answer to bytes on a connection of their own, as far as the first packet goes."""
    with socket.create_connection(("127.0.0.1", collector.http_port), timeout=5) as connection:
        connection.sendall(sent)
        return connection.recv(4096)


def post_span(collector: Collector, members: str) -> tuple[int, Any]:
    """(status, answer) of a JSON request with one span of these members."""
    sent = '{"resourceSpans":[{"scopeSpans":[{"spans":[{' + members + "}]}]}]}"
    status, _, answer = post(collector, sent.encode(), JSON)
    return status, json.loads(answer)


# ---- transport ------------------------------------------------------------------------------------------------------
def test_a_sender_that_has_said_all_may_close_its_side(tmp_path: Path, collector: Collector) -> None:
    """72: whoever then still reads is answered; a side that is closed within a body leaves nothing."""
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n"
    answers = []
    for sent in (head % len(BODY) + BODY, head % len(BODY) + BODY[:-1]):
        with socket.create_connection(("127.0.0.1", collector.http_port), timeout=5) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answers.append(b"".join(iter(lambda: connection.recv(4096), b"")))
    assert answers[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in answers[0]
    assert answers[1] == b""
    assert len(stored_spans(tmp_path)) == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
def test_only_post(collector: Collector, method: str) -> None:
    """5: every other method gets 405 and is told which one is allowed."""
    connection = http.client.HTTPConnection("127.0.0.1", collector.http_port, timeout=10)
    connection.request(method, "/v1/traces", headers={"content-type": PROTOBUF})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert method == "HEAD" or Status.FromString(body).code == 12


def test_an_unknown_path_answers_in_the_encoding_of_the_request(collector: Collector) -> None:
    """6, 41: 404 with a Status, in protobuf to who speaks protobuf."""
    status, headers, body = post(collector, BODY, path="/v1/profiles")
    assert (status, headers["content-type"], Status.FromString(body).code) == (404, PROTOBUF, 5)


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"POST /v1/traces HTTP/1.1\r\nContent-Length: -7\r\n\r\n"])
def test_what_is_no_http(collector: Collector, sent: bytes) -> None:
    """41, 46: bytes that are no HTTP request get 400 with a Status; the next request is served."""
    head, _, body = raw(collector, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == 3
    assert post(collector, BODY)[0] == 200


@pytest.mark.parametrize("encoding", ["zstd", "snappy", "gzip, gzip", "br"])
def test_compressions_that_are_not_understood(tmp_path: Path, collector: Collector, encoding: str) -> None:
    """16, 18, [17], [18]: gzip, deflate and none are understood; others, stacked ones too, get 415."""
    status, _, body = post(collector, BODY, content_encoding=encoding)
    assert (status, "use gzip, deflate or none" in Status.FromString(body).message) == (415, True)
    assert stored(tmp_path) == []


def test_a_content_length_that_lies(tmp_path: Path, collector: Collector) -> None:
    """17, 72, [19]: with fewer bytes than stated nothing is stored; more are a next request, which is none (400)."""
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n"
    assert raw(collector, head % len(BODY) + BODY + b"more").startswith(b"HTTP/1.1 400 ")
    with socket.create_connection(("127.0.0.1", collector.http_port), timeout=5) as short:
        short.sendall(head % (len(BODY) + 10) + BODY)
        short.shutdown(socket.SHUT_WR)
        short.recv(100)
    other = request(span(2)).SerializeToString()
    assert post(collector, other)[0] == 200
    assert {record.body for record in stored(tmp_path)} <= {BODY, other}


# ---- limits ---------------------------------------------------------------------------------------------------------
def test_the_limit_is_a_setting(tmp_path: Path) -> None:
    """25: 64 MiB unless `max_request_bytes` says otherwise; it holds on both edges."""
    assert collector_options(Settings(data=tmp_path)).limits.request_bytes == 64 << 20
    limits = collector_options(Settings(data=tmp_path, max_request_bytes=50_000)).limits
    with running(tmp_path, limits=limits) as collector, calling(collector) as export:
        for size, status, code in ((50_000, 200, None), (50_001, 413, grpc.StatusCode.RESOURCE_EXHAUSTED)):
            assert post(collector, body_of(size))[0] == status
            call = export.future(body_of(size), timeout=10)
            assert (call.exception() is None and None) == code or call.code() is code


def test_an_answer_is_never_large(collector: Collector) -> None:
    """26: fifty thousand spans rejected for two hundred reasons are told in a few words, on both edges."""
    bad = request(*(span(1, trace_id=b"x" * (17 + n % 200)) for n in range(5_000))).SerializeToString()
    status, _, body = post(collector, bad)
    with calling(collector) as export:
        assert export(bad, timeout=10) == body
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    assert (status, partial.rejected_spans) == (200, 5_000)
    assert partial.error_message.endswith("195 more kinds")
    assert len(body) < 2_100


# ---- answers --------------------------------------------------------------------------------------------------------
def test_a_warning_rejects_nothing(tmp_path: Path, collector: Collector) -> None:
    """34, 51: keys in snake_case are ignored, as OTLP/JSON wants, and the sender is told; words of senders are not
    taken for keys."""
    quoted = '"attributes":[{"key":"k","value":{"stringValue":"{\\"trace_state\\": 1}"}}]'
    assert post_span(collector, f"{IDS},{quoted}") == (200, {})
    status, answer = post_span(collector, f'{IDS},"trace_state":"a=b", "parent_span_id" : "00"')
    told = "ignored: parent_span_id, trace_state; keys of OTLP/JSON are written in lowerCamelCase"
    assert (status, answer) == (200, {"partialSuccess": {"rejectedSpans": "0", "errorMessage": told}})
    kept = stored_spans(tmp_path)[1]
    assert (kept.trace_state, kept.parent_span_id) == ("", b"")


@pytest.mark.parametrize("fault", [RuntimeError("boom"), MemoryError()])
def test_a_fault_of_ours_is_never_the_senders(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    """42, 46: whatever breaks here is 503 and UNAVAILABLE with a delay, never 500 or INTERNAL; the next request works,
    and what was offered is counted as refused."""

    def fail(self: Journal, record: object) -> None:
        raise fault

    with calling(collector) as export:
        with monkeypatch.context() as patched:
            patched.setattr(Journal, "append", fail)
            status, headers, body = post(collector, BODY)
            assert (status, headers["retry-after"], Status.FromString(body).code) == (503, "1", 14)
            with pytest.raises(grpc.RpcError) as caught:
                export(BODY, timeout=10)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "boom" not in caught.value.details() + body.decode("latin-1")
        assert (post(collector, BODY)[0], export(BODY, timeout=10)) == (200, b"")
    assert len(stored(tmp_path)) == 2
    assert collector.counters.snapshot()["traces"]["requests"] == {"accepted": 2, "rejected": 0, "refused": 2}


def test_no_room_for_more_requests_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """43: requests beyond `in_flight_bytes` are told to come back; the one that is being worked on is stored."""
    limits = collector_options(Settings(data=tmp_path, max_request_bytes=LIMIT, in_flight_bytes=150_000)).limits
    real, entered, go = Journal.append, threading.Event(), threading.Event()

    def slow(self: Journal, record: Any) -> Any:
        entered.set()
        assert go.wait(10)
        return real(self, record)

    monkeypatch.setattr(Journal, "append", slow)
    with running(tmp_path, limits=limits) as collector, calling(collector) as export:
        first = export.future(body_of(100_000), timeout=10)
        assert entered.wait(5)
        status, headers, _ = post(collector, body_of(100_000))
        go.set()
        assert (status, headers["retry-after"], first.result()) == (503, "1", b"")
    assert len(stored(tmp_path)) == 1


def test_a_journal_at_its_limit(tmp_path: Path) -> None:
    """42, 43, 82: past `journal_max_bytes` senders are told to come back, `/healthz` with them; nothing is dropped."""
    body = body_of(900_000)
    with running(tmp_path, journal_max_bytes=3 << 20, segment_bytes=1 << 20) as collector:
        answers = [post(collector, body) for _ in range(5)]
        codes = [status for status, _, _ in answers]
        taken = codes.index(503)
        assert codes == [200] * taken + [503] * (5 - taken)
        assert taken >= 2
        assert {headers["retry-after"] for _, headers, _ in answers[taken:]} == {"1"}
        assert raw(collector, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 503 ")
        items = collector.counters.snapshot()["traces"]["items"]
        assert items == {"accepted": taken, "rejected": 0, "refused": 5 - taken}
    assert len(stored(tmp_path)) == taken


def test_a_call_that_is_cancelled_leaves_no_half_batch(tmp_path: Path, collector: Collector) -> None:
    """72: a gRPC sender that goes away leaves whole requests or none, and its channel serves the next call."""
    body = body_of(LIMIT)
    with calling(collector) as export:
        calls = [export.future(body, timeout=20) for _ in range(8)]
        for call in calls[::2]:
            call.cancel()
        assert [call.result() for call in calls[1::2]] == [b""] * 4
        assert export(BODY, timeout=10) == b""
    bodies = [record.body for record in stored(tmp_path)]
    assert 5 <= len(bodies) <= 9
    assert set(bodies) == {body, BODY}


def test_no_grpc_health_service(collector: Collector) -> None:
    """83: health is `/healthz` alone; the gRPC health service is UNIMPLEMENTED."""
    with calling(collector, "/grpc.health.v1.Health/Check") as check, pytest.raises(grpc.RpcError) as caught:
        check(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_values_nested_deeper_than_protobuf_reads(tmp_path: Path, collector: Collector) -> None:
    """39, 45, [22]: depth 60 to 10,000 is INVALID_ARGUMENT or 400, never retried; 40 levels are kept."""
    with calling(collector) as export:
        for levels in (60, 100, 10_000):
            assert post(collector, nested(levels))[0] == 400
            with pytest.raises(grpc.RpcError) as caught:
                export(nested(levels), timeout=10)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert export(nested(40), timeout=10) == b""
    assert len(stored_spans(tmp_path)) == 1


def nested(levels: int) -> bytes:
    """A request whose one attribute is an array in an array, so many times: written by hand, from inside to outside."""
    value = AnyValue(string_value="x").SerializeToString()
    for _ in range(levels):
        value = field(5, field(1, value))  # AnyValue.array_value, ArrayValue.values
    attribute = field(1, b"k") + field(2, value)
    return field(1, field(2, field(2, span(1).SerializeToString() + field(9, attribute))))


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, in protobuf."""
    size, length = len(content), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


# ---- recovery -------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_stock_exporters_outlive_five_seconds_without_us(tmp_path: Path, protocol: str) -> None:
    """44: a receiver that is away for five seconds costs the stock exporters nothing: they retry. (The gRPC one gets
    twice its ten seconds: its channel may by itself wait up to seven before it connects again.)"""
    with running(tmp_path) as collector:
        ports = {"grpc_port": collector.grpc_port, "http_port": collector.http_port}
    exporter = (
        HttpExporter(f"http://127.0.0.1:{ports['http_port']}/v1/traces")
        if protocol == "http"
        else GrpcExporter(f"127.0.0.1:{ports['grpc_port']}", insecure=True, timeout=20)
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sending = threading.Thread(target=lambda: provider.get_tracer("test").start_span("patient").end())
    sending.start()
    time.sleep(5)
    with running(tmp_path, **ports):
        sending.join()
        provider.shutdown()
    assert [kept.name for kept in stored_spans(tmp_path)] == ["patient"]
