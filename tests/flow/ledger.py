"""The oracle: senders that resend until they hear an OK, and what a data directory is then compared with."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow.parquet as pq
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanfold.exporter.manifest import read_current
from tests.flow.running import PROTOBUF
from tests.flow.sending import NOON, SECOND, chat, traces

STORED = "SELECT trace_id, span_id, input_tokens FROM calls"
ROLLED = "SELECT coalesce(sum(calls), 0), coalesce(sum(input_tokens), 0) FROM rollup_hourly"
END_SECONDS = 40.0  # the longest that a sender waits for the OK of what it has begun


class Target(Protocol):
    def post(self, body: bytes, content_type: str) -> tuple[int, Any, bytes]: ...


class Ledger:
    """Senders that resend until they hear an OK, as the stock exporters do, in other batch sizes. Remembers what was
    acknowledged: the truth that the store is compared with."""

    def __init__(self, product: Target, senders: int = 2, spans: int = 50, pause: float = 0.05, first: int = 0) -> None:
        """`first`: number of the first trace of each sender, so that ledgers after each other differ."""
        self.acknowledged: list[tuple[str, str, int]] = []
        self.resent = 0
        self.answered: Counter[int] = Counter()  # spans by the status that they were answered with, 0: no answer
        self.slowest_answer = 0.0
        self._product, self._spans, self._pause, self._first = product, spans, pause, first
        self._stop, self._gives_up = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(senders)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Lets every sender finish what it has begun."""
        self._stop.set()
        for thread in self._threads:
            thread.join(END_SECONDS)
        self._gives_up.set()
        assert not any(thread.is_alive() for thread in self._threads), f"no OK within {END_SECONDS:g} s"

    def _send(self, sender: int) -> None:
        rng, batch = random.Random(f"{sender} {self._first}"), self._first
        while not self._stop.is_set():
            batch += 1
            trace = sender << 32 | batch
            waiting = [
                [
                    chat(trace, n, tokens=(rng.randrange(10_000), n), start=NOON + batch * SECOND)
                    for n in range(1, self._spans + 1)
                ]
            ]
            while waiting and not self._gives_up.is_set():
                spans = waiting.pop()
                if self._post(spans):
                    self.acknowledged += map(identity, spans)
                else:  # again, in two requests
                    self.resent += len(spans)
                    half = max(1, len(spans) // 2)
                    waiting += [part for part in (spans[half:], spans[:half]) if part]
                    time.sleep(0.1)
            time.sleep(self._pause)

    def _post(self, spans: Sequence[Span]) -> bool:
        began, status = time.monotonic(), 0
        try:
            status = self._product.post(traces(spans), PROTOBUF)[0]
        except (OSError, http.client.HTTPException):
            return False
        finally:
            self.answered[status] += len(spans)
        assert status in (200, 503)
        if status == 200:
            self.slowest_answer = max(self.slowest_answer, time.monotonic() - began)
        return status == 200


def identity(span: Span) -> tuple[str, str, int]:
    """Trace id, span id and input tokens, as the view `calls` says them."""
    tokens = next(a.value.int_value for a in span.attributes if a.key == "gen_ai.usage.input_tokens")
    return span.trace_id.hex(), span.span_id.hex(), tokens


@contextmanager
def load(product: Target, **options: float) -> Iterator[Ledger]:
    ledger = Ledger(product, **options)  # type: ignore[arg-type]
    try:
        yield ledger
    finally:
        ledger.end()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a data directory has of what was acknowledged, in the view, the files and the rollup."""

    acknowledged: int
    lost: int  # acknowledged, not in the view
    doubled: int  # rows of the view, or of the Parquet files, beyond one a span
    strange: int  # in the view and never acknowledged, though every sender has finished
    rollup_differs: bool  # calls or tokens of the rollup are not those of the view

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.strange or self.rollup_differs)


def judge(data: Path, acknowledged: Sequence[tuple[str, str, int]]) -> Verdict:
    """Compares as multisets. Everything must be folded and published."""
    with duckdb.connect(str(data / "spanfold.duckdb"), read_only=True) as connection:
        view = Counter(connection.execute(STORED).fetchall())
        rolled = connection.execute(ROLLED).fetchone()
    files: Counter[tuple[str, str]] = Counter()
    for path in read_current(data).paths("spans"):
        rows = pq.read_table(data / path, columns=["trace_id", "span_id"], partitioning=None)
        files.update(zip(rows["trace_id"].to_pylist(), rows["span_id"].to_pylist(), strict=True))
    sent = Counter(acknowledged)
    doubled = max(sum(view.values()) - len({row[:2] for row in view}), sum(files.values()) - len(files))
    return Verdict(
        acknowledged=len(sent), lost=len(sent.keys() - view.keys()), doubled=doubled,
        strange=len(view.keys() - sent.keys()),
        rollup_differs=rolled != (sum(view.values()), sum(row[2] * count for row, count in view.items())),
    )  # fmt: skip
