"""A real OpenTelemetry Collector, built from its modules, with the configuration that we ship, in front of Spanfold."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.flow.running import free_ports, printed_json, wait_for
from tests.flow.sending import chat, logs

HERE = Path(__file__).parent
CONFIG = HERE.parents[1] / "otel-collector-config.yaml"
PROTOBUF = "application/x-protobuf"
SECRET, JWT = "sk-" + "a1B2" * 8, "eyJ" + "x" * 12 + "." + "y" * 12 + "." + "z" * 12
BATCHES, PER_BATCH = 120, 25
BUILD_SECONDS = 340
NOT_TESTED = "NOT TESTED: the OpenTelemetry Collector in front of Spanfold"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def otelcol() -> Path:
    """The Collector, of the versions that go.sum pins; kept below the system's directory of temporary files, so that it
    is built once a machine."""
    sources = [HERE / name for name in ("go.mod", "go.sum", "main.go")]
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    kept = Path(tempfile.gettempdir()) / f"spanfold-otelcol-{os.getuid()}"
    kept.mkdir(mode=0o700, exist_ok=True)
    binary = kept / f"otelcol-{version}"
    if not binary.exists():
        build(binary)
    return binary


def build(binary: Path) -> None:
    """Skips, and says so, where there is no Go, where it cannot get the modules, or where it takes too long."""
    go = shutil.which("go")
    if go is None:
        pytest.skip(f"{NOT_TESTED}: it is built with Go, which is missing")
    deadline = time.monotonic() + BUILD_SECONDS
    partial = binary.with_name(f"{binary.name}.{os.getpid()}")
    environ = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    for command in ([go, "mod", "download"], [go, "build", "-trimpath", "-ldflags=-s -w", "-o", str(partial), "."]):
        try:
            done = subprocess.run(
                command,
                cwd=HERE,
                env=environ,
                capture_output=True,
                text=True,
                check=False,
                timeout=max(1.0, deadline - time.monotonic()),
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"{NOT_TESTED}: building it takes longer than {BUILD_SECONDS} s here")
        if done.returncode and command[1] == "mod":
            pytest.skip(f"{NOT_TESTED}: its modules cannot be had: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
    partial.rename(binary)


class Part:
    """A process that can be killed and started again on the same ports."""

    def __init__(self, command: list[str], environ: dict[str, str], health: tuple[int, str], log: Path) -> None:
        self._command, self._environ, self._health, self._log = command, environ, health, log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(self._command, env=self._environ, stdout=out, stderr=out)
        wait_for(self._answers, 60, self._command[0])

    def end(self, number: signal.Signals) -> None:
        self._process.send_signal(number)
        self._process.wait(30)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        connection = http.client.HTTPConnection("127.0.0.1", self._health[0], timeout=2)
        try:
            connection.request("GET", self._health[1])
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


class House:
    """A Collector, and Spanfold behind it, which asks for an API key."""

    def __init__(self, directory: Path, otelcol: Path) -> None:
        grpc_port, http_port, self.in_port, in_grpc, health = free_ports(5)
        self.data = directory / "data"
        self.environ = os.environ | {"SPANFOLD_DATA": str(self.data), "SPANFOLD_OTLP_AUTH": "keys"}
        self.spanfold("init")
        key = printed_json(self.spanfold("keys", "add", "--label", "gateway", "--tenant", "acme", "--json"))["secret"]
        collect = [sys.executable, "-m", "spanfold.cli", "collect"]
        collect += [f"--grpc-port={grpc_port}", f"--http-port={http_port}"]
        self.receiver = Part(collect, self.environ, (http_port, "/healthz"), directory / "spanfold.log")
        told = {
            "OTELCOL_QUEUE_DIR": str(directory / "queue"), "SPANFOLD_ENDPOINT": f"127.0.0.1:{grpc_port}",
            "SPANFOLD_KEY": key, "OTELCOL_GRPC": f"127.0.0.1:{in_grpc}",
            "OTELCOL_HTTP": f"127.0.0.1:{self.in_port}", "OTELCOL_HEALTH": f"127.0.0.1:{health}",
        }  # fmt: skip
        command = [str(otelcol), "--config", str(CONFIG)]
        self.log = directory / "otelcol.log"
        self.collector = Part(command, os.environ | told, (health, "/"), self.log)

    def spanfold(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "spanfold.cli", *arguments]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, check=True, timeout=120)

    def post(self, body: bytes, path: str = "/v1/traces") -> bool:
        """Was it taken by the Collector?"""
        connection = http.client.HTTPConnection("127.0.0.1", self.in_port, timeout=10)
        try:
            connection.request("POST", path, body, {"content-type": PROTOBUF})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def post_until_taken(self, body: bytes, path: str = "/v1/traces") -> None:
        wait_for(lambda: self.post(body, path), 60, "the Collector", poll=0.2)

    def accepted(self) -> int:
        return int(printed_json(self.spanfold("status", "--json"))["accepted"])


@pytest.fixture
def house(tmp_path: Path, otelcol: Path) -> Iterator[House]:
    made = House(tmp_path, otelcol)
    try:
        yield made
    finally:
        for part in (made.collector, made.receiver):
            part.end(signal.SIGTERM)


def batch(number: int) -> bytes:
    """25 calls, one of them with secrets in its attributes."""
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.extend(
        chat(number, 1 + n, **({"upstream__api_key": "k-17", "note": SECRET} if n == 0 else {}))
        for n in range(PER_BATCH)
    )
    return encoded(request)


def encoded(request: Message) -> bytes:
    body: bytes = request.SerializeToString()
    return body


def test_an_outage_of_spanfold_costs_nothing(house: House) -> None:
    """What the Collector took arrives once (44): Spanfold is killed under load and stays away, the Collector is killed
    with a full queue, both come back."""
    sent = threading.Thread(target=lambda: [house.post_until_taken(batch(n)) for n in range(1, BATCHES + 1)])
    sent.start()
    wait_for(lambda: house.accepted() > 0, 60, "the first spans")
    house.receiver.end(signal.SIGKILL)  # answers may be lost: what they were about is sent again
    time.sleep(3)
    house.collector.end(signal.SIGKILL)
    house.collector.start()
    sent.join()
    house.receiver.start()
    wait_for(lambda: house.accepted() >= BATCHES * PER_BATCH, 120, "everything", poll=0.5)
    house.spanfold("flush")
    with duckdb.connect(str(house.data / "spanfold.duckdb"), read_only=True) as connection:
        counted = connection.execute(
            "SELECT count(*), count(DISTINCT (trace_id, span_id)), sum(input_tokens), min(tenant), max(key_label) "
            "FROM calls"
        ).fetchone()
    assert counted == (BATCHES * PER_BATCH, BATCHES * PER_BATCH, BATCHES * PER_BATCH * 100, "acme", "gateway")


def test_what_the_collector_scrubs_never_arrives(house: House) -> None:
    """The example of the configuration masks secrets in spans and logs, and neither usage nor words; nothing in it is
    deprecated."""
    house.post_until_taken(batch(1))
    house.post_until_taken(logs([(1, 1, "note", {"password": "hunter2", "said": f"use {JWT} now"})]), "/v1/logs")
    wait_for(lambda: house.accepted() >= PER_BATCH + 1, 60, "everything", poll=0.2)
    house.spanfold("flush")
    with duckdb.connect(str(house.data / "spanfold.duckdb"), read_only=True) as connection:
        spans = connection.execute(
            "SELECT attributes->>'upstream.api_key', attributes->>'note' FROM spans WHERE span_id = '0000000000000001'"
        ).fetchall()
        tokens = connection.execute("SELECT sum(input_tokens) FROM calls").fetchone()
        said = connection.execute("SELECT attributes->>'password', attributes->>'said' FROM logs").fetchall()
    assert spans == [("****", "****")]
    assert tokens == (PER_BATCH * 100,)
    assert said == [("****", "use **** now")]
    assert "deprecated" not in house.log.read_text()
