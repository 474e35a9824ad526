"""OTLP over gRPC, as a sender meets it (items of the OTLP checklist named in each test)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from spanfold.collector.errors import JournalFull, PortTaken
from spanfold.collector.journal import Journal
from spanfold.collector.server import Collector, CollectorOptions
from spanfold.exporter.keys import Keyring

from .receiving import LIMIT, body_of, calling, request, running, span, stored, stored_spans

SERVICES = ["trace.v1.TraceService", "logs.v1.LogsService", "metrics.v1.MetricsService"]


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with running(tmp_path) as started:
        yield started


def failure(export: grpc.UnaryUnaryMultiCallable, body: bytes, **options: object) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        export(body, timeout=20, **options)
    return caught.value


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_answers(collector: Collector, service: str) -> None:
    """Export of each signal gives OK and an empty response (1, 28)."""
    with calling(collector, f"/opentelemetry.proto.collector.{service}/Export") as export:
        assert export(b"", timeout=5) == b""


def test_profiles_are_unimplemented(collector: Collector) -> None:
    """A service we do not have is UNIMPLEMENTED (2)."""
    method = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
    with calling(collector, method) as export:
        assert failure(export, b"").code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_spans_are_durable_and_whole(tmp_path: Path, collector: Collector, compression: grpc.Compression) -> None:
    """The body is kept byte for byte, gzip or not (14, 15, 31)."""
    sent = request(span(1), span(2)).SerializeToString()
    with calling(collector) as export:
        answer = export(sent, timeout=5, compression=compression)
    assert not ExportTraceServiceResponse.FromString(answer).HasField("partial_success")
    (record,) = stored(tmp_path)
    assert (record.body, record.items) == (sent, 2)


def test_torn_request_is_the_senders_fault(tmp_path: Path, collector: Collector) -> None:
    """A body that does not parse is INVALID_ARGUMENT with details, not INTERNAL; the next request works (39, 46)."""
    good = request(span(1)).SerializeToString()
    with calling(collector) as export:
        error = failure(export, good[:-3])
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        trailers = dict(error.trailing_metadata())
        assert Status.FromString(trailers["grpc-status-details-bin"]).code == 3
        assert "google.rpc.retryinfo-bin" not in trailers
        assert export(good, timeout=5) == b""
    assert len(stored_spans(tmp_path)) == 1


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_size_limit(tmp_path: Path, collector: Collector, compression: grpc.Compression) -> None:
    """The limit itself is accepted, one byte more is RESOURCE_EXHAUSTED without RetryInfo, gzip or not (21 to 24)."""
    with calling(collector) as export:
        assert export(body_of(LIMIT), timeout=20, compression=compression) == b""
        error = failure(export, body_of(LIMIT + 1), compression=compression)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "google.rpc.retryinfo-bin" not in dict(error.trailing_metadata() or ())
    assert len(stored(tmp_path)) == 1


def test_bad_ids_are_rejected_by_partial_success(tmp_path: Path, collector: Collector) -> None:
    """Spans with bad ids are rejected and counted; the others are stored (32, 60)."""
    with calling(collector) as export:
        answer = export(request(span(1), span(2, trace_id=b"x" * 15)).SerializeToString(), timeout=5)
    partial = ExportTraceServiceResponse.FromString(answer).partial_success
    assert (partial.rejected_spans, partial.error_message) == (1, "rejected: 1 with trace_id of 15 bytes instead of 16")
    assert [s.name for s in stored_spans(tmp_path)] == ["span 1"]


def test_full_disk_is_told_to_come_back(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room: UNAVAILABLE with RetryInfo in both trailers; with room the request is accepted (42, 43)."""

    def full(self: Journal, size: int) -> None:
        raise JournalFull("no room")

    body = request(span(1)).SerializeToString()
    with calling(collector) as export:
        with monkeypatch.context() as patched:
            patched.setattr(Journal, "_refuse_if_full", full)
            error = failure(export, body)
        trailers = dict(error.trailing_metadata())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]).retry_delay.seconds == 1
        (detail,) = Status.FromString(trailers["grpc-status-details-bin"]).details
        assert detail.Is(RetryInfo.DESCRIPTOR)
        assert export(body, timeout=5) == b""
    assert len(stored_spans(tmp_path)) == 1


def test_our_own_fault_is_retryable(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception on our side never becomes INTERNAL or UNKNOWN, and does not end the server (42, 46)."""

    def broken(self: Journal, record: object) -> None:
        raise ZeroDivisionError

    body = request(span(1)).SerializeToString()
    with calling(collector) as export:
        with monkeypatch.context() as patched:
            patched.setattr(Journal, "append", broken)
            assert failure(export, body).code() is grpc.StatusCode.UNAVAILABLE
        assert export(body, timeout=5) == b""
    assert len(stored_spans(tmp_path)) == 1


def test_many_streams_on_one_channel(tmp_path: Path, collector: Collector) -> None:
    """100 concurrent calls on one channel are all stored (70)."""
    with calling(collector) as export:
        calls = [export.future(request(span(n)).SerializeToString(), timeout=20) for n in range(1, 101)]
        assert [call.result() for call in calls] == [b""] * 100
    assert sorted(s.name for s in stored_spans(tmp_path)) == sorted(f"span {n}" for n in range(1, 101))


@pytest.mark.slow
def test_keepalive_pings_are_tolerated(collector: Collector) -> None:
    """A client that pings every 10 s, with and without calls, keeps its connection (74)."""
    options = {"grpc.keepalive_time_ms": 10_000, "grpc.keepalive_permit_without_calls": 1}
    states: list[grpc.ChannelConnectivity] = []
    with grpc.insecure_channel(f"127.0.0.1:{collector.grpc_port}", options=list(options.items())) as channel:
        channel.subscribe(states.append, try_to_connect=True)
        time.sleep(45)
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        assert export(b"", timeout=5) == b""
    assert grpc.ChannelConnectivity.TRANSIENT_FAILURE not in states


def test_the_stock_exporters(tmp_path: Path, collector: Collector) -> None:
    """The stock Python exporters deliver all three signals, with gzip (14)."""
    where = {"endpoint": f"127.0.0.1:{collector.grpc_port}", "insecure": True}
    traces = TracerProvider(shutdown_on_exit=False)
    traces.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(**where, compression=grpc.Compression.Gzip)))
    with traces.get_tracer("test").start_as_current_span("stock"):
        pass
    logs = LoggerProvider(shutdown_on_exit=False)
    logs.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(**where, compression=grpc.Compression.Gzip)))
    logs.get_logger("test").emit(LogRecord(body="hello", event_name="greeting"))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(**where, compression=grpc.Compression.Gzip))
    metrics = MeterProvider([reader], shutdown_on_exit=False)
    metrics.get_meter("test").create_counter("calls").add(3)
    for provider in (traces, logs, metrics):
        provider.shutdown()
    assert {record.signal: record.items for record in stored(tmp_path)} == {"traces": 1, "logs": 1, "metrics": 1}


def test_stop_answers_what_is_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping waits for requests that are being written, and what they were told holds (73)."""
    real = Journal.append
    entered = threading.Event()

    def slow(self: Journal, record: object) -> object:
        entered.set()
        time.sleep(0.5)
        return real(self, record)  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "append", slow)
    with running(tmp_path) as collector, calling(collector) as export:
        call = export.future(request(span(1)).SerializeToString(), timeout=10)
        entered.wait(5)
        collector.stop()
        assert call.result() == b""
    assert len(stored_spans(tmp_path)) == 1


def test_a_taken_port_is_named(tmp_path: Path, collector: Collector) -> None:
    """A port in use is one clear error, and the journal is free again after it."""
    other = tmp_path / "other"
    for ports in (
        {"grpc_port": collector.grpc_port, "http_port": 0},
        {"grpc_port": 0, "http_port": collector.http_port},
    ):
        (taken,) = [port for port in ports.values() if port]
        with pytest.raises(PortTaken, match=str(taken)):
            Collector(CollectorOptions(data=other, disk_floor_bytes=0, **ports), Keyring.open(other))
