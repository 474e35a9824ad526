"""OTLP over gRPC. The server hands over raw bytes, so that a body that does not parse is INVALID_ARGUMENT: grpcio
would answer INTERNAL. Bodies over the limit, compressed or not, grpcio refuses with RESOURCE_EXHAUSTED before we see
them; services we do not have, it answers with UNIMPLEMENTED.

To grpcio the methods take a stream, of which one message is read: the same on the wire, and the headers are looked at
before the message is, and a message that grpcio refuses is counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc

from spanfold.collector.answers import Code, Encoding, Refused, retry_info, status_message
from spanfold.collector.errors import PortTaken
from spanfold.collector.limits import RETRY_SECONDS, Limits, too_large
from spanfold.collector.requests import Intake
from spanfold.collector.senders import ANYONE, Caller, Senders
from spanfold.collector.signals import ALL, Signal
from spanfold.collector.tls import Tls

_LOG = logging.getLogger(__name__)
_THREADS = 32  # each may hold one message, of the limit's size
CROWDED_SECONDS = 3.0  # how long a message may take while more than half of the threads wait for one
_PENDING = 20_000  # calls that wait for a thread; beyond, grpcio cancels any of them, those of other connections too
_SHORTEST_PING_MS = 5_000  # clients that ping every 10 s keep their connection; gRPC's own minimum is 5 minutes
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcEdge:
    """The gRPC server of one collector."""

    def __init__(
        self, intake: Intake, host: str, port: int, limits: Limits, senders: Senders | None = None,
        tls: Tls | None = None,
    ) -> None:  # fmt: skip
        """Binds at once; port 0 takes a free one. Without `senders` everybody may send. Raises PortTaken."""
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="otlp-grpc"),
            options=[
                ("grpc.max_receive_message_length", limits.request_bytes),
                ("grpc.so_reuseport", 0),
                ("grpc.server.max_pending_requests", _PENDING),
                ("grpc.server.max_pending_requests_hard_limit", 2 * _PENDING),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", _SHORTEST_PING_MS),
                ("grpc.http2.min_ping_interval_without_data_ms", _SHORTEST_PING_MS),
            ],
        )
        self._slow = _SlowSenders(limits.read_seconds)
        for signal in ALL:
            export = _Export(intake, signal, senders, self._slow, limits.request_bytes)
            method = grpc.stream_unary_rpc_method_handler(export)  # no (de)serialisers: bytes
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(signal.service, {"Export": method}),)
            )
        address = f"{f'[{host}]' if ':' in host else host}:{port}"
        try:
            self.port: int = (
                self._server.add_secure_port(address, tls.credentials())
                if tls is not None
                else self._server.add_insecure_port(address)
            )
        except RuntimeError as error:
            raise PortTaken(f"OTLP/gRPC cannot listen on {host}:{port}; choose another --grpc-port") from error

    def start(self) -> None:
        self._slow.start()
        self._server.start()

    def stop(self, grace_seconds: float) -> None:
        """Takes no more calls, lets those in flight end, returns when they did."""
        self._server.stop(grace_seconds).wait()
        self._slow.stop()


class _Export:
    """The one method of a signal's service."""

    def __init__(
        self, intake: Intake, signal: Signal, senders: Senders | None, slow: _SlowSenders, request_bytes: int
    ) -> None:
        self._intake, self._signal, self._senders = intake, signal, senders
        self._slow, self._request_bytes = slow, request_bytes

    def __call__(self, messages: Iterator[bytes], context: Any) -> bytes:
        try:
            caller = self._caller(context)
        except Refused as refused:
            self._intake.count_refusal(self._signal, refused)
            _abort(context, refused)
        waiting = self._slow.watched(context)
        try:
            with waiting:
                body = next(messages, None)
            if body is None and waiting.cut:
                raise grpc.RpcError
        except grpc.RpcError:  # the sender left, or was too slow
            self._intake.count_refusal(self._signal, Refused(Code.UNAVAILABLE, "", retry_seconds=RETRY_SECONDS))
            raise
        if body is None:  # larger than grpcio takes (which has told the sender so), or no message at all
            oversize = too_large(self._request_bytes)
            self._intake.count_refusal(self._signal, oversize)
            _abort(context, oversize)
        try:
            return self._intake.accept(self._signal, Encoding.PROTOBUF, body, caller=caller)
        except Refused as refused:
            _abort(context, refused)
        except Exception:
            _LOG.exception("a %s request over gRPC failed", self._signal.name)
            failed = Refused(Code.UNAVAILABLE, "the request failed here", retry_seconds=RETRY_SECONDS)
            self._intake.count_refusal(self._signal, failed)
            _abort(context, failed)

    def _caller(self, context: Any) -> Caller:
        if self._senders is None:
            return ANYONE
        told = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        return self._senders.caller(
            told.get("authorization", ""), told.get("x-api-key", ""), told.get("x-spanfold-tenant", ""),
            context.peer().rpartition(":")[0],
        )  # fmt: skip


class _SlowSenders:
    """Ends the calls whose message does not come in time, sooner when they are many: each holds a thread."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: set[_Watched] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="otlp-grpc-slow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def watched(self, context: Any) -> _Watched:
        return _Watched(self._waiting, context)

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self._seconds / 4)):
            crowded = len(self._waiting) > _THREADS // 2
            oldest = time.monotonic() - (min(CROWDED_SECONDS, self._seconds) if crowded else self._seconds)
            for waiting in self._waiting.copy():
                if waiting.since < oldest:
                    waiting.cut = True
                    waiting.context.cancel()


class _Watched:
    """Within it, a call counts as waiting for its message."""

    __slots__ = ("_all", "context", "cut", "since")

    def __init__(self, everyone: set[_Watched], context: Any) -> None:
        self._all, self.context = everyone, context
        self.since = time.monotonic()
        self.cut = False  # it took too long: whatever is read then is no message

    def __enter__(self) -> None:
        self._all.add(self)

    def __exit__(self, *_: object) -> None:
        self._all.discard(self)


def _abort(context: Any, refused: Refused) -> NoReturn:
    trailers = [("grpc-status-details-bin", status_message(refused).SerializeToString())]
    if refused.retry_seconds is not None:
        trailers.append(("google.rpc.retryinfo-bin", retry_info(refused.retry_seconds).SerializeToString()))
    context.set_trailing_metadata(tuple(trailers))
    context.abort(_CODES[int(refused.code)], refused.message)
    raise AssertionError("abort returns to nobody")
