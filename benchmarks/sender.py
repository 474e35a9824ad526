"""Sends a file of requests over gRPC, as fast as they are acknowledged or at a rate; a process of its own.

Bodies go out as they are (no protobuf work here), over several connections. A refusal that OTLP calls retryable is
tried again after a pause, any other ends the run with an error. Prints one JSON object:

    python benchmarks/sender.py requests.bin 127.0.0.1:4317 --connections 4
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc
from load import read

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
RETRYABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
PAUSE = 0.1  # seconds before a refused request is sent again


@dataclass(frozen=True, slots=True)
class Ack:
    """One acknowledged request; times are Unix seconds."""

    spans: int
    sent: float
    acknowledged: float


@dataclass(frozen=True, slots=True)
class Result:
    """What was acknowledged between `began` and `ended` (Unix seconds)."""

    spans: int
    requests: int
    bytes: int
    began: float
    ended: float
    spans_per_second: float
    ack_p50_ms: float
    ack_p99_ms: float
    refused: int
    cpu_seconds: float
    acks: list[Ack]


class Sender:
    """Sends requests over `connections` channels; with a rate, request i is due when i-1 and before are sent."""

    def __init__(self, requests: list[tuple[bytes, int]], target: str, connections: int, rate: float | None) -> None:
        self.requests, self.target, self.connections, self.rate = requests, target, connections, rate
        self.acks: list[Ack] = []
        self.refused = 0
        self.errors: list[str] = []
        self._lock = threading.Lock()
        self._next = self._due()

    def run(self) -> Result:
        """Sends everything; raises RuntimeError when a request was refused for good."""
        workers = [threading.Thread(target=self._work) for _ in range(self.connections)]
        began, cpu = time.time(), time.process_time()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        ended = time.time()
        if self.errors:
            raise RuntimeError(self.errors[0])
        spans = sum(ack.spans for ack in self.acks)
        waits = sorted(ack.acknowledged - ack.sent for ack in self.acks)
        return Result(
            spans=spans,
            requests=len(self.acks),
            bytes=sum(len(body) for body, _ in self.requests),
            began=began,
            ended=ended,
            spans_per_second=spans / (ended - began),
            ack_p50_ms=1000 * waits[len(waits) // 2],
            ack_p99_ms=1000 * waits[int(len(waits) * 0.99)],
            refused=self.refused,
            cpu_seconds=time.process_time() - cpu,
            acks=self.acks if self.rate else [],
        )

    def _due(self) -> Iterator[tuple[bytes, int, float]]:
        due = time.time()
        for body, spans in self.requests:
            yield body, spans, due if self.rate else 0.0
            due += spans / self.rate if self.rate else 0.0

    def _work(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(self.target, options=options) as channel:
            export = channel.unary_unary(EXPORT)
            while not self.errors:
                with self._lock:
                    request = next(self._next, None)
                if request is None:
                    return
                body, spans, due = request
                time.sleep(max(0.0, due - time.time()))
                self._send(export, body, spans)

    def _send(self, export: grpc.UnaryUnaryMultiCallable, body: bytes, spans: int) -> None:
        sent = time.time()
        while not self.errors:
            try:
                export(body, timeout=60)
            except grpc.RpcError as error:
                if error.code() not in RETRYABLE:
                    self.errors.append(f"{error.code()}: {error.details()}")
                    return
                self.refused += 1
                time.sleep(PAUSE)
            else:
                self.acks.append(Ack(spans, sent, time.time()))
                return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("target")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rate", type=float, help="spans a second; without it as fast as possible")
    args = parser.parse_args()
    print(json.dumps(asdict(Sender(read(args.file), args.target, args.connections, args.rate).run())))


if __name__ == "__main__":
    main()
