"""Bounds on an HTTP connection that uvicorn does not set: the size of headers, how long they and a body may take."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES = 64 << 10
HEADER_SECONDS = 20.0  # from the connection, or from the first byte after an answer, to the end of the headers
MESSAGE_SECONDS = 150.0  # from the end of the headers to the end of the body, whether or not somebody reads it
REST_SECONDS = 10.0  # what still comes of a request after its answer is read for so long: so the sender sees the answer
_LINGER_SECONDS = 0.5  # what comes after a last answer is thrown away for so long
MAX_CONNECTIONS = 4096  # each may hold a little of a request


def _last_answer(status: bytes, body: bytes, extra: bytes = b"") -> bytes:
    """An answer after which the connection ends; `google.rpc.Status` in JSON, for no encoding is known yet."""
    return b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n%b" % (
        status, len(body), extra, body,
    )  # fmt: skip


_TOO_LARGE = _last_answer(
    b"431 Request Header Fields Too Large", b'{"code":3,"message":"the headers are larger than 65536 bytes"}'
)
_NO_HTTP = _last_answer(b"400 Bad Request", b'{"code":3,"message":"this is not an HTTP request"}')
_TOO_MANY = _last_answer(
    b"503 Service Unavailable", b'{"code":14,"message":"too many connections"}', b"retry-after: 1\r\n"
)


class BoundedConnection(HttpToolsProtocol):
    """One connection. A connection that says nothing, or endlessly much, before its request is closed."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.access_log = False  # whatever the process logs otherwise: what is received is counted
        self._header_bytes = 0  # of the headers that are whole
        self._waiting_bytes = 0  # received since the headers began
        self._in_headers = True
        self._ended = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most():
            self._end_with(_TOO_MANY)
            return
        self._timer = self.loop.call_later(HEADER_SECONDS, transport.close)

    def most(self) -> int:
        """Connections of one server at a time, websockets included."""
        return MAX_CONNECTIONS

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        if self._in_headers:
            self._waiting_bytes += len(data)
            if self._timer is None:
                self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)
        super().data_received(data)
        if self._in_headers and not self._ended and self._waiting_bytes > MAX_HEADER_BYTES:
            self._end_with(_TOO_LARGE)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._stop_timer()
        if self._header_bytes > MAX_HEADER_BYTES:
            self._end_with(_TOO_LARGE)
        else:
            if not self.parser.should_upgrade():
                self._timer = self.loop.call_later(MESSAGE_SECONDS, self.transport.close)
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._ended:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._stop_timer()
        if not self._ended:
            super().on_message_complete()
        self._in_headers, self._header_bytes, self._waiting_bytes = True, 0, 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        newest: Any = self.cycle  # of pipelined requests an earlier one may be what was answered
        until = self.loop.time() + REST_SECONDS
        if not self._in_headers and newest.response_complete and self._timer is not None and until < self._timer.when():
            self._timer.cancel()
            self._timer = self.loop.call_at(until, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """For what cannot be parsed; uvicorn would answer in plain text."""
        self._end_with(_NO_HTTP)

    def _end_with(self, answer: bytes) -> None:
        """Closed at once, a connection that still receives is reset, and its sender may not see the answer."""
        self._ended = True
        self.transport.write(answer)
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class SenderConnection(BoundedConnection):
    """One connection to the OTLP port."""

    def eof_received(self) -> bool:  # type: ignore[override]
        """A sender may close its side of the connection as soon as it has said all, and still reads the answer."""
        asked: Any = self.cycle
        if (
            asked is None or asked.response_complete or not self._in_headers or self._waiting_bytes or self._ended
            or self.pipeline or self.transport.get_extra_info("sslcontext") is not None
        ):  # fmt: skip
            return False
        asked.keep_alive = False
        return True
