"""A collector that only remembers: a real gRPC server on a real port that keeps the request bodies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

SIGNALS = {"/TraceService/": "traces", "/LogsService/": "logs"}


class Sink(grpc.GenericRpcHandler):
    """Answers every export with OK and an empty response; refuses the first `refusals` of them as overloaded."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[bytes]] = {"traces": [], "logs": []}
        self.refusals = 0
        self._server = grpc.server(ThreadPoolExecutor(4), handlers=[self])
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        signal = next(name for part, name in SIGNALS.items() if part.strip("/") in handler_call_details.method)
        return grpc.unary_unary_rpc_method_handler(self._keep(signal))

    def _keep(self, signal: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def keep(body: bytes, context: grpc.ServicerContext) -> bytes:
            if self.refusals:
                self.refusals -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "come back later")
            self.bodies[signal].append(body)
            return b""

        return keep

    def stop(self) -> None:
        self._server.stop(0).wait()


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = Sink()
    yield server
    server.stop()
