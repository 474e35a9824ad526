"""What a running product answers to requests that nobody should send, and that the next good one works all the same."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import grpc
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.flow.running import JSON, PROTOBUF, Running, up, wait_for
from tests.flow.sending import chat, traces

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MEBIBYTE = 1 << 20
GOOD = traces([chat(1, 1)])


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with up(tmp_path_factory.mktemp("bad input")) as running:
        yield running


def bomb() -> bytes:
    """1 GiB of zeros in a mebibyte."""
    compress = zlib.compressobj(wbits=31)
    return b"".join([compress.compress(bytes(MEBIBYTE)) for _ in range(1024)]) + compress.flush()


REFUSED = {
    "torn protobuf": (GOOD[:-3], PROTOBUF, {}, 400),
    "a body that is no protobuf": (b"\xff\xfe garbage", PROTOBUF, {}, 400),
    "bad JSON": (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": }]}]}]}', JSON, {}, 400),
    "JSON of another shape": (b'{"resourceSpans": {"a": 1}}', JSON, {}, 400),
    "unknown content type": (GOOD, "application/x-msgpack", {}, 415),
    "unknown compression": (GOOD, PROTOBUF, {"content_encoding": "br"}, 415),
    "gzip that is none": (GOOD, PROTOBUF, {"content_encoding": "gzip"}, 400),
    "torn gzip": (gzip.compress(GOOD)[:-6], PROTOBUF, {"content_encoding": "gzip"}, 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_requests_say_why_in_their_own_encoding(product: Running, name: str) -> None:
    """400 or 415, never 5xx, with a `google.rpc.Status` in the request's encoding and no invitation to try again."""
    body, content_type, headers, expected = REFUSED[name]
    status, answered, text = product.post(body, content_type, **headers)
    assert (status, answered["retry-after"]) == (expected, None)
    if content_type == PROTOBUF:
        assert (answered["content-type"], bool(Status.FromString(text).message)) == (PROTOBUF, True)
    else:
        assert (answered["content-type"], bool(json.loads(text)["message"])) == (JSON, True)
    assert_the_next_one_works(product)


def test_wrong_ids_are_rejected_one_by_one(product: Running) -> None:
    """A request with good and bad spans is a partial success: bad ones are counted and named, good ones kept."""
    bad = [Span(trace_id=b"short", span_id=b"12345678"), Span(trace_id=bytes(16), span_id=b"12345678")]
    status, _, answer = product.post(traces([chat(500, 1), *bad, chat(500, 2)]))
    partial = ExportTraceServiceResponse.FromString(answer).partial_success
    assert (status, partial.rejected_spans) == (200, 2)
    assert "trace_id of 5 bytes" in partial.error_message
    product.flush()
    assert stored(product, 500) == 2
    status, _, answer = product.post(
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz","spanId":"1"}]}]}]}', JSON
    )
    assert status in (200, 400)
    assert_the_next_one_works(product)


@pytest.mark.parametrize("way", ["declared", "chunked", "gzip bomb"])
def test_two_hundred_mebibytes_are_refused_and_leave_no_trace(product: Running, way: str) -> None:
    """Over 64 MiB, stated, streamed or inflated: 413, the collector grows by less than 96 MiB, others are served."""
    before = resident(product)
    if way == "declared":
        status = stream(product, {"content-length": str(200 * MEBIBYTE)}, chunked=False)
    elif way == "chunked":
        status = stream(product, {"transfer-encoding": "chunked"}, chunked=True)
    else:
        status = product.post(bomb(), content_encoding="gzip")[0]
    assert status == 413
    assert_the_next_one_works(product)
    assert resident(product) - before < 96 * MEBIBYTE


def test_two_hundred_mebibytes_over_grpc(product: Running) -> None:
    """gRPC answers RESOURCE_EXHAUSTED, and to what does not parse INVALID_ARGUMENT; the connection stays usable."""
    limitless = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{product.grpc_port}", options=limitless) as channel:
        export = channel.unary_unary(EXPORT)
        for body, code in ((bytes(200 * MEBIBYTE), "RESOURCE_EXHAUSTED"), (GOOD[:-3], "INVALID_ARGUMENT")):
            with pytest.raises(grpc.RpcError) as caught:
                export(body, timeout=60)
            assert caught.value.code().name == code
        with pytest.raises(grpc.RpcError) as caught:
            export(bytes(200 * MEBIBYTE), timeout=60, compression=grpc.Compression.Gzip)
        assert caught.value.code().name == "RESOURCE_EXHAUSTED"
        assert export(GOOD, timeout=10) == b""
    assert_the_next_one_works(product)


def test_everything_offered_is_accounted_for(product: Running) -> None:
    """After all of the above: both edges and the folder live on unharmed, every accepted span is folded."""
    product.flush()
    status = product.status()
    assert {name: status["processes"][name]["restarts"] for name in ("collect", "fold")} == {"collect": 0, "fold": 0}
    assert status["accepted"] == status["folded"] > 0
    assert status["signals"]["traces"]["requests"]["rejected"] > 8
    assert (status["errors"], status["damaged"]) == ({}, [])


# ---- a full disk -----------------------------------------------------------------------------------------------------
@contextmanager
def small_disk(directory: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of this size. Skips the test where none may be mounted."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(directory)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("NOT TESTED: a full disk (there is no `mount` here)")
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: a full disk (nothing can be mounted here: {mounted.stderr.strip()})")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def fill(directory: Path) -> Path:
    """A file that takes all the room there is."""
    path = directory / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (MEBIBYTE, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return path


@pytest.mark.slow
def test_a_full_disk_refuses_until_there_is_room(tmp_path: Path) -> None:
    """F07, F08, P4: 503 with Retry-After and UNAVAILABLE with RetryInfo, /healthz says so, nothing acknowledged before
    is lost; with room again requests are taken and everything is folded, without a hand being lifted."""
    with small_disk(tmp_path / "disk", 96) as disk, up(disk) as product:
        product.send(traces([chat(1, number) for number in range(1, 11)]))
        product.flush()
        filler = fill(disk)
        refused = wait_for(lambda: (answer := offer(product, 2)) and answer[0] != 200 and answer, 30, "a refusal")
        assert refused == (503, True, "UNAVAILABLE", True)
        assert product.get("/healthz") == 503
        accepted = product.status()["accepted"]
        filler.unlink()
        wait_for(lambda: product.get("/healthz") == 200, 30, "room")
        product.send(traces([chat(3, number) for number in range(1, 11)]))
        product.flush()
        assert (stored(product, 1), stored(product, 3)) == (10, 10)
        assert product.status()["accepted"] == accepted + 10 == product.status()["folded"]
        assert wait_for(lambda: not product.status()["errors"], 40, "no errors")
    assert product.process.returncode == 0


@pytest.mark.slow
def test_a_disk_that_fills_while_folding_loses_nothing(tmp_path: Path) -> None:
    """F08: accepted spans that the folder has no room to write wait in the journal until there is some."""
    with small_disk(tmp_path / "disk", 96) as disk, up(disk) as product:
        folder = product.signal("fold", signal.SIGSTOP)
        for trace in range(1, 21):
            product.send(traces([chat(trace, number) for number in range(1, 51)]))
        filler = fill(disk)
        os.kill(folder, signal.SIGCONT)
        wait_for(lambda: product.printed.read_text().count("fold ended") >= 2, 60, "failed attempts")
        assert "bytes are free" in product.status()["errors"]["disk"]["last"]
        filler.unlink()
        product.flush()
        assert sum(stored(product, trace) for trace in range(1, 21)) == 1000
        assert not list((product.data / "dead-letters").glob("*"))
    assert product.process.returncode == 0


def offer(product: Running, trace: int) -> tuple[int, bool, str, bool]:
    """What both edges say to a good request: (HTTP status, says when to retry, gRPC code, says when to retry)."""
    body = traces([chat(trace, 1)])
    status, headers, _ = product.post(body)
    with grpc.insecure_channel(f"127.0.0.1:{product.grpc_port}") as channel:
        try:
            channel.unary_unary(EXPORT)(body, timeout=10)
        except grpc.RpcError as error:
            names = {name for name, _ in error.trailing_metadata()}
            return status, headers["retry-after"] is not None, error.code().name, "google.rpc.retryinfo-bin" in names
    return status, headers["retry-after"] is not None, "OK", False


def assert_the_next_one_works(product: Running) -> None:
    assert product.post(GOOD)[0] == 200
    assert product.get("/healthz") == 200


def stored(product: Running, trace: int) -> int:
    with duckdb.connect(str(product.data / "spanfold.duckdb"), read_only=True) as connection:
        found = connection.execute("SELECT count(*) FROM calls WHERE trace_id = ?", [f"{trace:032x}"]).fetchone()
    return found[0] if found else 0


def resident(product: Running) -> int:
    """Bytes of memory of the collector."""
    status = Path(f"/proc/{product.pid('collect')}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def stream(product: Running, headers: dict[str, str], *, chunked: bool) -> int:
    """The status of a request whose body is 200 MiB, whether all of it could be sent or not."""
    connection = http.client.HTTPConnection("127.0.0.1", product.http_port, timeout=60)
    try:
        connection.putrequest("POST", "/v1/traces")
        for name, value in (headers | {"content-type": PROTOBUF}).items():
            connection.putheader(name, value)
        connection.endheaders()
        try:
            for _ in range(200):
                piece = bytes(MEBIBYTE)
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                connection.send(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered already
        return connection.getresponse().status
    finally:
        connection.close()
