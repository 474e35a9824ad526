"""OTLP over HTTP: one small ASGI application on uvicorn, beside it `/healthz` and `/metrics`.

Headers decide before the body is read, the API key first (only `/healthz` answers without one); the body is read no
further than the limit; decompressing, checking and the wait for the disk happen on worker threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import orjson
import uvicorn

from spanfold.collector.answers import Code, Encoding, Refused
from spanfold.collector.cors import Cors
from spanfold.collector.counters import Counters
from spanfold.collector.errors import JournalError, PortTaken
from spanfold.collector.http_connection import SenderConnection
from spanfold.collector.journal import Journal
from spanfold.collector.limits import RETRY_SECONDS, Held, InFlight, Limits, too_large
from spanfold.collector.requests import Intake
from spanfold.collector.senders import ANYONE, Caller, Senders
from spanfold.collector.signals import ALL, Signal
from spanfold.collector.tls import Tls

_LOG = logging.getLogger(__name__)
_THREADS = 16
_SIGNALS = {signal.path: signal for signal in ALL}
_STATUS = {
    Code.INVALID_ARGUMENT: 400, Code.NOT_FOUND: 404, Code.PERMISSION_DENIED: 403, Code.RESOURCE_EXHAUSTED: 413,
    Code.UNIMPLEMENTED: 405, Code.UNAVAILABLE: 503, Code.UNAUTHENTICATED: 401,
}  # fmt: skip
_FORGET_TIMES = 16  # the most of a refused body that is still read, in limits
_TEXT = "text/plain; charset=utf-8"

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_Rest = Callable[[], Awaitable[None]]


class _SenderLeft(Exception):
    """The connection ended before the body did."""


class OtlpApp:
    """The ASGI application."""

    def __init__(
        self, intake: Intake, journal: Journal, counters: Counters, limits: Limits, senders: Senders | None = None,
        cors: Cors | None = None, resent: Callable[[], Mapping[str, int]] = dict,
    ) -> None:  # fmt: skip
        """Without `senders` everybody may send. resent: items by signal that had been stored before."""
        self._resent = resent
        self._senders = senders
        self._cors = cors or Cors(())
        self._intake = intake
        self._journal = journal
        self._counters = counters
        self._limits = limits
        self._bodies = InFlight(limits.in_flight_bytes)  # as sent; what they inflate to, the intake counts
        self._workers = ThreadPoolExecutor(_THREADS, thread_name_prefix="otlp-http")

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        signal = _SIGNALS.get(scope["path"])
        origin = _header(scope, b"origin")
        if origin:
            send = self._cors.sender(origin, send)
        if signal is not None and origin and self._cors.is_preflight(origin, scope["method"]):
            await _answer(send, 200, _TEXT, b"", self._cors.preflight)
        elif signal is not None:
            await self._export(signal, scope, receive, send)
        elif scope["path"] == "/healthz":
            await self._health(send)
        elif scope["path"] == "/metrics":
            await self._metrics(scope, send)
        else:
            encoding = _encoding(_header(scope, b"content-type")) or Encoding.JSON
            await _refuse(send, Refused(Code.NOT_FOUND, f"there is nothing at {scope['path']}"), encoding)

    async def _export(self, signal: Signal, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        with self._bodies.request() as held:
            await self._answer_to(signal, scope, receive, send, held)

    async def _answer_to(
        self, signal: Signal, scope: MutableMapping[str, Any], receive: _Receive, send: _Send, held: Held
    ) -> None:
        encoding = _encoding(_header(scope, b"content-type"))
        try:
            caller = await self._caller(scope)
            if scope["method"] != "POST":
                raise Refused(Code.UNIMPLEMENTED, f"send {signal.path} with POST, not {scope['method']}")
            if encoding is None:
                accepted = " or ".join(known.value for known in Encoding)
                raise Refused(Code.INVALID_ARGUMENT, f"the content type must be {accepted}", media=True)
            body = await self._body(scope, receive, held)
        except Refused as refused:
            self._intake.count_refusal(signal, refused)
            await _refuse(send, refused, encoding or Encoding.JSON, partial(self._rest_of, scope, receive))
            return
        except _SenderLeft:
            self._intake.count_refusal(signal, Refused(Code.UNAVAILABLE, "", retry_seconds=RETRY_SECONDS))
            return
        compression = _header(scope, b"content-encoding").lower()
        try:
            answer = await asyncio.get_running_loop().run_in_executor(
                self._workers, self._intake.accept, signal, encoding, body, compression, caller
            )
        except Refused as refused:
            await _refuse(send, refused, encoding)
        except Exception:
            _LOG.exception("a %s request over HTTP failed", signal.name)
            failed = Refused(Code.UNAVAILABLE, "the request failed here", retry_seconds=RETRY_SECONDS)
            self._intake.count_refusal(signal, failed)
            await _refuse(send, failed, encoding)
        else:
            await _answer(send, 200, encoding.value, answer)

    async def _caller(self, scope: MutableMapping[str, Any]) -> Caller:
        if self._senders is None:
            return ANYONE
        told = partial(
            self._senders.caller, _header(scope, b"authorization"), _header(scope, b"x-api-key"),
            _header(scope, b"x-spanfold-tenant"), (scope.get("client") or ("",))[0],
        )  # fmt: skip
        return await asyncio.get_running_loop().run_in_executor(self._workers, told)

    async def _metrics(self, scope: MutableMapping[str, Any], send: _Send) -> None:
        try:
            await self._caller(scope)
        except Refused as refused:
            await _refuse(send, refused, Encoding.JSON)
        else:
            told = await asyncio.get_running_loop().run_in_executor(self._workers, self._resent)
            await _answer(send, 200, _TEXT, self._counters.prometheus(told).encode())

    async def _body(self, scope: MutableMapping[str, Any], receive: _Receive, held: Held) -> bytes:
        limit = self._limits.request_bytes
        stated = _header(scope, b"content-length")
        if stated.isdigit() and int(stated) > limit:
            raise too_large(limit)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.read_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _SenderLeft
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise too_large(limit)
                    held.add(len(parts[-1]))
                    if not message.get("more_body"):
                        return b"".join(parts) if len(parts) > 1 else parts[0]
        except TimeoutError:
            raise Refused(Code.UNAVAILABLE, "the body came too slowly", retry_seconds=RETRY_SECONDS) from None

    async def _rest_of(self, scope: MutableMapping[str, Any], receive: _Receive) -> None:
        """Reads and forgets what a refused sender is still sending: closed on, it would see a broken pipe, not why."""
        if _header(scope, b"expect"):  # it waits to be asked for the body
            return
        room = self._limits.request_bytes * _FORGET_TIMES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.read_seconds):
                while room > 0:
                    message = await receive()
                    room -= len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        return

    async def _health(self, send: _Send) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._workers, self._journal.check)
        except JournalError as error:
            await _answer(send, 503, "application/json", orjson.dumps({"status": "refusing", "reason": str(error)}))
        else:
            await _answer(send, 200, "application/json", b'{"status":"accepting"}')


class HttpEdge:
    """The HTTP server of one collector, on a thread of its own."""

    def __init__(self, app: OtlpApp, host: str, port: int, grace_seconds: float, tls: Tls | None = None) -> None:
        """Binds at once; port 0 takes a free one. Raises PortTaken, TlsUnusable."""
        context = tls.context() if tls is not None else None
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app, http=SenderConnection, ws="none", lifespan="off", access_log=False, log_config=None,
            server_header=False, timeout_keep_alive=75, timeout_graceful_shutdown=int(grace_seconds),
            ssl_context_factory=None if context is None else lambda *_: context,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="otlp-http", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Takes no more requests, lets those in flight end, returns when they did."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"OTLP/HTTP cannot listen on {host}:{port}: {error.strerror}; choose another --http-port"
        ) from error
    listener.listen(1024)
    return listener


def _header(scope: MutableMapping[str, Any], name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1").strip()
            return text
    return ""


def _encoding(content_type: str) -> Encoding | None:
    """The encoding that a Content-Type names, its parameters aside; None if it is none of ours."""
    kind = content_type.partition(";")[0].strip().lower()
    return next((encoding for encoding in Encoding if encoding.value == kind), None)


async def _refuse(send: _Send, refused: Refused, encoding: Encoding, rest: _Rest | None = None) -> None:
    extra: list[tuple[bytes, bytes]] = []
    if refused.retry_seconds is not None:
        extra.append((b"retry-after", str(refused.retry_seconds).encode()))
    if refused.code is Code.UNIMPLEMENTED:
        extra.append((b"allow", b"POST"))
    if refused.code is Code.UNAUTHENTICATED:
        extra.append((b"www-authenticate", b"Bearer"))
    status = 415 if refused.media else _STATUS[refused.code]
    if refused.code is Code.RESOURCE_EXHAUSTED and refused.transient:
        status = 429
    await _answer(send, status, encoding.value, refused.status(encoding), extra, rest)


async def _answer(
    send: _Send, status: int, content_type: str, body: bytes, extra: Iterable[tuple[bytes, bytes]] = (),
    rest: _Rest | None = None,
) -> None:  # fmt: skip
    """Sends an answer; `rest` runs when all of it is on its way and before the exchange ends."""
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": rest is not None})
    if rest is not None:
        await rest()
        await send({"type": "http.response.body", "body": b""})
