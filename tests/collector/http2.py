"""HTTP/2 by hand: what no gRPC client lets a test send."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from .receiving import TRACE_EXPORT

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_HEADERS, END_STREAM = 4, 1
ENHANCE_YOUR_CALM = 11
_HEADERS = {
    ":method": "POST", ":scheme": "http", ":path": TRACE_EXPORT, ":authority": "localhost",
    "content-type": "application/grpc", "te": "trailers",
}  # fmt: skip


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def call_headers(stream: int) -> bytes:
    """Opens a call of the trace service; every header is a literal without indexing (RFC 7541, 6.2.2)."""
    block = b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in _HEADERS.items()
    )
    return frame(HEADERS, END_HEADERS, stream, block)


def reset(stream: int) -> bytes:
    return frame(RESET, 0, stream, (8).to_bytes(4, "big"))  # CANCEL


def connected(port: int) -> socket.socket:
    """A connection that has said hello."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0) + frame(SETTINGS, 1, 0))
    return connection


def frames(connection: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """(kind, stream, content) of what is received, until the other side ends the connection."""
    received = b""
    while True:
        while len(received) < 9 or len(received) < 9 + int.from_bytes(received[:3], "big"):
            try:
                part = connection.recv(65536)
            except ConnectionError:
                return
            if not part:
                return
            received += part
        size = int.from_bytes(received[:3], "big")
        yield received[3], int.from_bytes(received[5:9], "big"), received[9 : 9 + size]
        received = received[9 + size :]
