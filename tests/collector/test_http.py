"""OTLP over HTTP, as a sender meets it (items of the OTLP checklist named in each test)."""

from __future__ import annotations

import gzip
import http.client
import json
import random
import re
import socket
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from spanfold.collector.answers import Refused
from spanfold.collector.errors import JournalFull
from spanfold.collector.journal import Journal
from spanfold.collector.limits import inflate
from spanfold.collector.server import Collector

from .receiving import JSON, LIMIT, PROTOBUF, body_of, post, request, running, span, stored, stored_spans


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with running(tmp_path) as started:
        yield started


def get(collector: Collector, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", collector.http_port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
def test_every_signal_in_both_encodings(collector: Collector, signal: str) -> None:
    """An empty request succeeds; the answer is an empty response in the encoding of the request
    (3, 4, 8, 9, 28, 29)."""
    status, headers, body = post(collector, b"", PROTOBUF, f"/v1/{signal}")
    assert (status, headers["content-type"], body) == (200, PROTOBUF, b"")
    status, headers, body = post(collector, b"{}", "application/json; charset=utf-8", f"/v1/{signal}")
    assert (status, headers["content-type"], body) == (200, JSON, b"{}")


def test_spans_are_durable_and_whole(tmp_path: Path, collector: Collector) -> None:
    """The body is kept byte for byte; partial success stays unset (31)."""
    sent = request(span(1), span(2)).SerializeToString()
    status, _, body = post(collector, sent)
    assert status == 200
    assert not ExportTraceServiceResponse.FromString(body).HasField("partial_success")
    (record,) = stored(tmp_path)
    assert (record.body, record.signal, record.tenant, record.items) == (sent, "traces", "default", 2)
    assert abs(record.received_ns - time.time_ns()) < 10e9


def test_empty_envelopes_store_nothing(tmp_path: Path, collector: Collector) -> None:
    """Envelopes without a span are accepted and not stored (30)."""
    assert post(collector, request().SerializeToString())[0] == 200
    assert stored(tmp_path) == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
def test_compression(tmp_path: Path, collector: Collector, encoding: str) -> None:
    """gzip, deflate (zlib or bare) and identity are understood (14, 15, 18)."""
    sent = request(span(1)).SerializeToString()
    compress = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": lambda raw: raw}[encoding]
    assert post(collector, compress(sent), content_encoding=encoding)[0] == 200
    if encoding == "deflate":
        bare = zlib.compressobj(wbits=-15)
        assert post(collector, bare.compress(sent) + bare.flush(), content_encoding=encoding)[0] == 200
    assert {record.body for record in stored(tmp_path)} == {sent}


def test_gzip_of_several_members(tmp_path: Path, collector: Collector) -> None:
    """A gzip body may be several members one after the other."""
    sent = request(span(1)).SerializeToString()
    assert post(collector, gzip.compress(sent[:5]) + gzip.compress(sent[5:]), content_encoding="gzip")[0] == 200
    assert [record.body for record in stored(tmp_path)] == [sent]


def test_very_many_members_cost_no_time() -> None:
    """Members that inflate to nothing pass every limit of size: they are refused by their number, and what follows a
    few of them is not copied for each."""
    empty, words = gzip.compress(b""), random.Random(1).randbytes(20 << 20)
    began = time.monotonic()
    with pytest.raises(Refused, match="more than 1000 members"):
        inflate(empty * 500_000, "gzip", 64 << 20)
    assert inflate(empty * 900 + gzip.compress(words, 0), "gzip", 64 << 20) == words
    assert time.monotonic() - began < 3


TORN = request(span(1)).SerializeToString()[:-3]
BAD_UTF8 = request(span(1, name="\x7f\x7f")).SerializeToString().replace(b"\x7f\x7f", b"\xff\xfe")
REFUSED = {
    "torn protobuf (39)": (TORN, PROTOBUF, {}, 400),
    "invalid UTF-8 (68)": (BAD_UTF8, PROTOBUF, {}, 400),
    "not JSON (40)": (b'{"resourceSpans": [', JSON, {}, 400),
    "JSON of another shape": (b'{"resourceSpans": 7}', JSON, {}, 400),
    "JSON that is no object": (b"[1]", JSON, {}, 400),
    "JSON nested deeply": (b"[" * 5000 + b"]" * 5000, JSON, {}, 400),
    "corrupt gzip (17)": (b"\x1f\x8b" + b"nonsense" * 5, PROTOBUF, {"content_encoding": "gzip"}, 400),
    "truncated gzip": (gzip.compress(b"x" * 999)[:-4], PROTOBUF, {"content_encoding": "gzip"}, 400),
    "unknown compression (16)": (b"x", PROTOBUF, {"content_encoding": "br"}, 415),
    "other content type (7)": (b"x", "text/plain", {}, 415),
    "no content type (7)": (b"x", None, {}, 415),
    "too large (22)": (body_of(LIMIT + 1), PROTOBUF, {}, 413),
    "too large after gzip (23)": (gzip.compress(body_of(LIMIT + 1)), PROTOBUF, {"content_encoding": "gzip"}, 413),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path: Path, collector: Collector, name: str) -> None:
    """Bad requests get their code and a `google.rpc.Status` in their encoding
    (7, 16, 17, 22, 23, 39, 40, 41, 45, 68); the next good one works (46)."""
    body, content_type, headers, expected = REFUSED[name]
    status, answered, text = post(collector, body, content_type, **headers)
    assert status == expected
    assert answered["retry-after"] is None
    if content_type == PROTOBUF:
        assert answered["content-type"] == PROTOBUF
        assert Status.FromString(text).message
    else:
        assert answered["content-type"] == JSON
        assert json.loads(text)["message"]
    assert collector.counters.snapshot()["traces"]["requests"]["rejected"] == 1
    assert post(collector, request(span(1)).SerializeToString())[0] == 200
    assert len(stored_spans(tmp_path)) == 1


@pytest.mark.parametrize("levels", [60, 200, 400, 490, 5000])
def test_depth_bombs(collector: Collector, levels: int) -> None:
    """Values nested deeper than a protobuf reader goes are bad data in either encoding, however deep they are."""
    text = b'{"arrayValue":{"values":[' * levels + b"{}" + b"]}}" * levels
    head = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"k","value":'
    status, _, answer = post(collector, head + text + b"}]}]}]}]}", JSON)
    assert (status, json.loads(answer)["code"]) == (400, 3)


def test_limit_itself_is_accepted(tmp_path: Path, collector: Collector) -> None:
    """A body of exactly the limit is taken, raw and compressed (21)."""
    assert post(collector, body_of(LIMIT))[0] == 200
    assert post(collector, gzip.compress(body_of(LIMIT)), content_encoding="gzip")[0] == 200
    assert len(stored_spans(tmp_path)) == 2


def test_content_length_decides_before_the_body(collector: Collector) -> None:
    """A stated length over the limit is answered before the body; a waiting sender is not told to go on (27)."""
    with socket.create_connection(("127.0.0.1", collector.http_port), timeout=5) as raw:
        raw.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
            b"Content-Length: 209715200\r\nExpect: 100-continue\r\n\r\n"
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_expect_continue(collector: Collector) -> None:
    """`Expect: 100-continue` is answered and does not hang (12)."""
    body = request(span(1)).SerializeToString()
    with socket.create_connection(("127.0.0.1", collector.http_port), timeout=5) as raw:
        raw.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
            b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body)
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 100")
        raw.sendall(body)
        assert raw.recv(100).startswith(b"HTTP/1.1 200")


def test_chunked_body_has_the_same_limit(collector: Collector) -> None:
    """A chunked body is accepted (11), and cut off at the limit though it states no length."""

    def send(parts: list[bytes]) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", collector.http_port, timeout=10)
        connection.request("POST", "/v1/traces", iter(parts), {"content-type": PROTOBUF}, encode_chunked=True)
        status = connection.getresponse().status
        connection.close()
        return status

    body = request(span(1)).SerializeToString()
    assert send([body[:7], body[7:]]) == 200
    assert send([b"x" * 100_000] * 20) == 413


def test_gzip_bomb_is_stopped(collector: Collector) -> None:
    """A small body that would inflate to 512 MiB is answered 413 at once (19)."""
    compress = zlib.compressobj(wbits=31)
    bomb = b"".join([compress.compress(bytes(1 << 20)) for _ in range(512)]) + compress.flush()
    began = time.monotonic()
    assert post(collector, bomb, content_encoding="gzip")[0] == 413
    assert time.monotonic() - began < 2


def test_methods_and_paths(collector: Collector) -> None:
    """Other methods get 405, other paths 404 (5, 6)."""
    assert get(collector, "/v1/traces")[0] == 405
    status, text = get(collector, "/v1/spans")
    assert status == 404
    assert json.loads(text)["code"] == 5


def test_many_requests_on_one_connection(tmp_path: Path, collector: Collector) -> None:
    """A connection stays open, takes both encodings in turn, and need not compress answers (10, 13, 20)."""
    connection = http.client.HTTPConnection("127.0.0.1", collector.http_port, timeout=10)
    for number in range(1, 101):
        body, kind = (request(span(number)).SerializeToString(), PROTOBUF) if number % 2 else (b"{}", JSON)
        connection.request("POST", "/v1/traces", body, {"content-type": kind, "accept-encoding": "gzip"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"" if number % 2 else b"{}")
    connection.close()
    assert len(stored_spans(tmp_path)) == 50


def test_bad_ids_are_rejected_by_partial_success(tmp_path: Path, collector: Collector) -> None:
    """Spans with bad ids are rejected with count and reasons; the others are stored (32, 60)."""
    good = [span(number) for number in range(1, 10)]
    bad = [span(20, trace_id=b"short"), span(21, span_id=b""), span(22, trace_id=bytes(16)), span(23, span_id=bytes(8))]
    status, _, body = post(collector, request(*bad[:2], *good, *bad[2:]).SerializeToString())
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    assert (status, partial.rejected_spans) == (200, 4)
    assert "trace_id of 5 bytes" in partial.error_message
    assert "span_id of zeros" in partial.error_message
    assert stored_spans(tmp_path) == good
    (record,) = stored(tmp_path)
    assert record.items == 9
    counted = collector.counters.snapshot()["traces"]
    assert counted["items"] == {"accepted": 9, "rejected": 4, "refused": 0}
    assert counted["requests"] == {"accepted": 1, "rejected": 0, "refused": 0}


def test_all_bad_is_a_success_with_everything_rejected(tmp_path: Path, collector: Collector) -> None:
    """When every span is bad the answer is still 200, and nothing is stored (33)."""
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"","spanId":"0102030405060708","name":"x"}]}]}]}'
    status, _, answer = post(collector, body, JSON)
    assert status == 200
    assert json.loads(answer)["partialSuccess"]["rejectedSpans"] == "1"
    assert stored(tmp_path) == []


def test_logs_may_have_no_ids(tmp_path: Path, collector: Collector) -> None:
    """A log record's ids may be empty; ids of a wrong length are rejected (35)."""
    sent = ExportLogsServiceRequest()
    records = sent.resource_logs.add().scope_logs.add().log_records
    records.add(severity_text="no ids")
    records.add(trace_id=b"1" * 16, span_id=b"2" * 8)
    records.add(trace_id=b"1" * 15, span_id=b"2" * 8)
    status, _, body = post(collector, sent.SerializeToString(), path="/v1/logs")
    assert (status, ExportLogsServiceResponse.FromString(body).partial_success.rejected_log_records) == (200, 1)
    (record,) = stored(tmp_path)
    assert (record.signal, record.items) == ("logs", 2)


def test_metrics_count_data_points(tmp_path: Path, collector: Collector) -> None:
    """All kinds of metrics are taken; items are data points (67)."""
    sent = ExportMetricsServiceRequest()
    metrics = sent.resource_metrics.add().scope_metrics.add().metrics
    for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary"):
        points = getattr(metrics.add(name=kind), kind).data_points
        points.add()
        points.add()
    metrics.add(name="no data")
    assert post(collector, sent.SerializeToString(), path="/v1/metrics")[0] == 200
    assert [record.items for record in stored(tmp_path)] == [10]


def test_full_disk_is_told_to_come_back(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room: 503 with Retry-After, not ready; with room the same request is accepted (42, 43, 82)."""
    body = request(span(1)).SerializeToString()

    def full(self: Journal, size: int) -> None:
        raise JournalFull("no room")

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "_refuse_if_full", full)
        status, headers, text = post(collector, body)
        assert (status, headers["retry-after"]) == (503, "1")
        assert Status.FromString(text).code == 14
        assert get(collector, "/healthz")[0] == 503
    assert get(collector, "/healthz") == (200, '{"status":"accepting"}')
    assert post(collector, body)[0] == 200
    assert collector.counters.snapshot()["traces"]["items"] == {"accepted": 1, "rejected": 0, "refused": 1}


def test_metrics_reconcile(collector: Collector) -> None:
    """offered = accepted + rejected + refused, on the Prometheus page (84)."""
    post(collector, request(span(1), span(2, span_id=b"")).SerializeToString())
    post(collector, TORN)
    _, text = get(collector, "/metrics")
    found = dict(re.findall(r'spanfold_(\w+_total\{signal="traces",outcome="\w+"\}) (\d+)', text))
    assert {key.replace('signal="traces",', ""): int(value) for key, value in found.items()} == {
        'items_total{outcome="accepted"}': 1, 'items_total{outcome="rejected"}': 1, 'items_total{outcome="refused"}': 0,
        'requests_total{outcome="accepted"}': 1, 'requests_total{outcome="rejected"}': 1,
        'requests_total{outcome="refused"}': 0,
    }  # fmt: skip


def test_counters_outlive_the_process(tmp_path: Path) -> None:
    """Totals go on after a restart; what was acknowledged after the last status is counted from the journal."""
    with running(tmp_path) as collector:
        post(collector, request(span(1), span(2)).SerializeToString())
    before = (tmp_path / "run" / "collector.json").read_text()
    with running(tmp_path) as collector:
        post(collector, request(span(3)).SerializeToString())
    (tmp_path / "run" / "collector.json").write_text(before)  # as if it had been killed before it wrote
    with running(tmp_path) as collector:
        assert collector.counters.snapshot()["traces"] == {
            "items": {"accepted": 3, "rejected": 0, "refused": 0},
            "requests": {"accepted": 2, "rejected": 0, "refused": 0},
        }


def test_a_slow_sender_blocks_nobody_and_is_cut(collector: Collector) -> None:
    """A body that trickles is answered after the time limit, while others are served (71)."""
    with socket.create_connection(("127.0.0.1", collector.http_port), timeout=5) as slow:
        slow.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
            b"Content-Length: 50\r\n\r\nab"
        )
        assert post(collector, request(span(1)).SerializeToString())[0] == 200
        assert slow.recv(100).startswith(b"HTTP/1.1 503")


def test_a_sender_that_leaves_stores_nothing(tmp_path: Path, collector: Collector) -> None:
    """A connection cut in the middle of a body leaves no half batch (72)."""
    body = request(span(1)).SerializeToString()
    with socket.create_connection(("127.0.0.1", collector.http_port), timeout=5) as raw:
        raw.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body[:10])
        )
    assert post(collector, request(span(2)).SerializeToString())[0] == 200
    assert [s.name for s in stored_spans(tmp_path)] == ["span 2"]


def test_parallel_senders_lose_nothing(tmp_path: Path, collector: Collector) -> None:
    """32 senders at once: every acknowledged span is stored once (69)."""
    statuses: list[int] = []

    def send(worker: int) -> None:
        bodies = [request(span(1 + worker * 10 + number)).SerializeToString() for number in range(10)]
        statuses.extend(post(collector, body)[0] for body in bodies)

    threads = [threading.Thread(target=send, args=(worker,)) for worker in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 320
    assert sorted(s.name for s in stored_spans(tmp_path)) == sorted(f"span {n}" for n in range(1, 321))


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_the_stock_exporter(tmp_path: Path, collector: Collector, compression: Compression) -> None:
    """The stock Python exporter delivers, in all its compressions."""
    exporter = OTLPSpanExporter(f"http://127.0.0.1:{collector.http_port}/v1/traces", compression=compression)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("stock"):
        pass
    provider.shutdown()
    assert [s.name for s in stored_spans(tmp_path)] == ["stock"]


def test_a_sender_reads_why_its_large_body_is_refused(collector: Collector) -> None:
    """A client that sends first and reads later, on a connection of its own, gets the answer and no broken pipe."""
    big = urllib.request.Request(
        f"http://127.0.0.1:{collector.http_port}/v1/traces", b"x" * (10 << 20), {"Content-Type": JSON}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(big, timeout=20)
    with caught.value as answer:
        assert (answer.code, json.loads(answer.read())["code"]) == (413, 8)


def test_unknown_fields_are_kept(tmp_path: Path, collector: Collector) -> None:
    """Fields of a later OTLP stay in the journal when a span beside them is rejected."""
    sent = request(span(1), span(2, span_id=b"")).SerializeToString() + b"\xc2\x3e\x03new"  # field 1000
    assert post(collector, sent)[0] == 200
    (record,) = stored(tmp_path)
    assert record.body.endswith(b"\xc2\x3e\x03new")
    assert len(ExportTraceServiceRequest.FromString(record.body).resource_spans) == 1
