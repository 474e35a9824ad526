"""OTLP over gRPC. The server hands over raw bytes, so that a body that does not parse is INVALID_ARGUMENT: grpcio
would answer INTERNAL. Bodies over the limit, compressed or not, grpcio refuses with RESOURCE_EXHAUSTED before we see
them; services we do not have, it answers with UNIMPLEMENTED."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc

from spanfold.collector.answers import Code, Encoding, Refused, retry_info, status_message
from spanfold.collector.errors import PortTaken
from spanfold.collector.limits import RETRY_SECONDS
from spanfold.collector.requests import Intake
from spanfold.collector.signals import ALL, Signal

_LOG = logging.getLogger(__name__)
_THREADS = 16
_SHORTEST_PING_MS = 5_000  # clients that ping every 10 s keep their connection; gRPC's own minimum is 5 minutes
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcEdge:
    """The gRPC server of one collector."""

    def __init__(self, intake: Intake, host: str, port: int, max_bytes: int) -> None:
        """Binds at once; port 0 takes a free one. Raises PortTaken."""
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="otlp-grpc"),
            options=[
                ("grpc.max_receive_message_length", max_bytes),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", _SHORTEST_PING_MS),
                ("grpc.http2.min_ping_interval_without_data_ms", _SHORTEST_PING_MS),
            ],
        )
        for signal in ALL:
            method = grpc.unary_unary_rpc_method_handler(_handler(intake, signal))  # no (de)serialisers: bytes
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(signal.service, {"Export": method}),)
            )
        try:
            self.port: int = self._server.add_insecure_port(f"{f'[{host}]' if ':' in host else host}:{port}")
        except RuntimeError as error:
            raise PortTaken(f"OTLP/gRPC cannot listen on {host}:{port}; choose another --grpc-port") from error

    def start(self) -> None:
        self._server.start()

    def stop(self, grace_seconds: float) -> None:
        """Takes no more calls, lets those in flight end, returns when they did."""
        self._server.stop(grace_seconds).wait()


def _handler(intake: Intake, signal: Signal) -> Callable[[bytes, Any], bytes]:
    def export(body: bytes, context: Any) -> bytes:
        try:
            return intake.accept(signal, Encoding.PROTOBUF, body)
        except Refused as refused:
            _abort(context, refused)
        except Exception:
            _LOG.exception("a %s request over gRPC failed", signal.name)
            _abort(context, Refused(Code.UNAVAILABLE, "the request failed here", retry_seconds=RETRY_SECONDS))

    return export


def _abort(context: Any, refused: Refused) -> NoReturn:
    trailers = [("grpc-status-details-bin", status_message(refused).SerializeToString())]
    if refused.retry_seconds is not None:
        trailers.append(("google.rpc.retryinfo-bin", retry_info(refused.retry_seconds).SerializeToString()))
    context.set_trailing_metadata(tuple(trailers))
    context.abort(_CODES[int(refused.code)], refused.message)
    raise AssertionError("abort returns to nobody")
