"""The dashboard's port under slow, endless and many connections."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.running import free_ports, wait_for

pytestmark = pytest.mark.slow
SERVER = """
from spanfold import dashboard_bounds
from spanfold.collector import http_connection
http_connection.HEADER_SECONDS, dashboard_bounds.BODY_SECONDS, http_connection.MESSAGE_SECONDS = 1.5, 1.5, 3.0
dashboard_bounds.MOST_CONNECTIONS = 40
from spanfold.cli import main
main()
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """A dashboard as it is served, with smaller bounds: its port and process."""
    data, number = tmp_path_factory.mktemp("data"), free_ports(1)[0]
    command = [sys.executable, "-c", SERVER, "dashboard", f"--dashboard-port={number}"]
    process = subprocess.Popen(command, env=os.environ | {"SPANFOLD_DATA": str(data)}, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: status(number) == 200, 60, "the dashboard")
        yield number, process.pid
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def port(served: tuple[int, int]) -> int:
    return served[0]


def status(port: int) -> int:
    """Of the health route, 0 if nobody answers."""
    try:
        answer = said(connected(port, b"GET /_stcore/health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"))
    except OSError:
        return 0
    return int(answer.split()[1]) if answer else 0


def connected(port: int, sent: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.sendall(sent)
    return connection


def said(connection: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    parts = []
    with connection:
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def begun(path: str) -> bytes:
    """A POST without its body."""
    head = "host: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 999"
    return f"POST {path} HTTP/1.1\r\n{head}\r\n\r\n".encode()


def drips(connection: socket.socket) -> float:
    """Seconds until a sender of a byte now and then is hung up on."""
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - began < 10:
            connection.sendall(b"a")
            time.sleep(0.1)
    return time.monotonic() - began


def test_a_header_that_never_ends_is_cut_off(port: int) -> None:
    """Slowloris: a byte of a header at a time is closed at the time limit, however lively it is (79)."""
    with connected(port, b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ") as connection:
        assert drips(connection) < 5


def test_a_flood_of_headers_is_refused(port: int) -> None:
    """64 KiB of headers, as one or as thousands, are answered with 431."""
    for headers in (b"x: " + b"a" * 70_000 + b"\r\n", b"".join(b"x-%d: 1\r\n" % n for n in range(12_000))):
        answer = said(connected(port, b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n" + headers + b"\r\n"))
        assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("path", ["/login", "/api/v1/sql"])
def test_a_body_that_never_ends_is_cut_off(port: int, path: str) -> None:
    """A body of which a byte comes now and then is answered with 408, and the connection ends."""
    began, answer = time.monotonic(), said(connected(port, begun(path) + b"{"))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 5


def test_a_body_that_nobody_reads_is_cut_off(port: int) -> None:
    """What is answered before its body came, as a wrong path is, may not go on with that body for ever."""
    with connected(port, begun("/nowhere")) as connection:
        assert drips(connection) < 8


def test_more_connections_than_there_may_be_are_refused_and_go_by_themselves(port: int) -> None:
    """60 idle connections: the ones above the limit are told 503; in two seconds everybody is served again."""
    idle = [connected(port, b"GET /") for _ in range(60)]
    refused = said(connected(port, b"GET /_stcore/health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"))
    assert refused.startswith(b"HTTP/1.1 503 ")
    wait_for(lambda: status(port) == 200, 5, "an answer while they idle")
    for connection in idle:
        connection.close()


@pytest.mark.parametrize(("method", "path", "refused"), [
    ("PUT", "/_stcore/upload_file/a/b", 403), ("POST", "/login", 413), ("POST", "/api/v1/sql", 413), ("POST", "/", 405),
])  # fmt: skip
def test_large_bodies_leave_no_trace(served: tuple[int, int], method: str, path: str, refused: int) -> None:
    """[20] 100 MiB to any route that might take them are refused, grow the process by less than 64 MiB, and others are
    answered."""
    port, pid = served
    before = peak(pid)
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n"
    connection = connected(port, f"{head}content-length: {100 << 20}\r\n\r\n".encode())
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            connection.sendall(bytes(1 << 20))
    with contextlib.suppress(ConnectionError):
        assert int(said(connection).split()[1]) == refused
    assert peak(pid) - before < 64
    assert status(port) == 200


def peak(pid: int) -> int:
    """The most memory that a process had, in MiB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) >> 10
