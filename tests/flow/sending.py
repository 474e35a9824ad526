"""Makes spans and puts them through the real path: journal, fold, commit, snapshot."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanfold.collector.dead_letters import DeadLetters
from spanfold.collector.journal import Journal
from spanfold.collector.segments import JournalRecord
from spanfold.exporter.keys import Keyring
from spanfold.folding import Folding
from spanfold.settings import Settings
from spanfold.state.price_overrides import PriceOverride
from spanfold.state.store import StateStore
from tests.semconv.otlp import any_value

NOON = 1_763_640_000_000_000_000  # 2025-11-20T12:00:00Z
SECOND = 1_000_000_000


def span(
    trace: int,
    number: int,
    parent: int = 0,
    *,
    name: str = "chat",
    start: int = NOON,
    ms: int = 1000,
    **attributes: Any,
) -> Span:
    """A span with small numbers for ids; `__` in a keyword stands for a dot."""
    return Span(
        trace_id=trace.to_bytes(16, "big"), span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"", name=name, kind=3,  # type: ignore[arg-type]
        start_time_unix_nano=start, end_time_unix_nano=start + ms * 1_000_000,
        attributes=[KeyValue(key=k.replace("__", "."), value=any_value(v)) for k, v in attributes.items()],
    )  # fmt: skip


def chat(
    trace: int,
    number: int,
    parent: int = 0,
    *,
    tokens: tuple[int, int] = (100, 10),
    model: str = "gpt-4o-mini",
    **more: Any,
) -> Span:
    """An inference span of the newest conventions. `history` and `answer` are message lists."""
    content = {
        key: json.dumps(more.pop(name))
        for name, key in (("history", "gen_ai.input.messages"), ("answer", "gen_ai.output.messages"))
        if name in more
    }
    return span(
        trace, number, parent, gen_ai__operation__name="chat", gen_ai__provider__name="openai",
        gen_ai__request__model=model, gen_ai__usage__input_tokens=tokens[0], gen_ai__usage__output_tokens=tokens[1],
        **content, **more,
    )  # fmt: skip


def traces(spans: Iterable[Span], service: str = "shop", scope: str = "test") -> bytes:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    scoped = resource.scope_spans.add()
    scoped.scope.name = scope
    scoped.spans.extend(spans)
    return request.SerializeToString()


def logs(
    records: Iterable[tuple[int, int, str, dict[str, Any]] | tuple[int, int, str, dict[str, Any], int]],
    service: str = "shop",
    scope: str = "",
) -> bytes:
    """(trace, span, event name, attributes, perhaps time) of each record."""
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    scoped = resource.scope_logs.add()
    scoped.scope.name = scope
    for trace, number, event, attributes, *time_ns in records:
        record = scoped.log_records.add(time_unix_nano=time_ns[0] if time_ns else NOON, event_name=event)
        record.trace_id, record.span_id = trace.to_bytes(16, "big"), number.to_bytes(8, "big")
        record.attributes.extend(KeyValue(key=k, value=any_value(v)) for k, v in attributes.items())
    return request.SerializeToString()


class Product:
    """One data directory with its journal and folder in this process."""

    def __init__(self, data: Path, **settings: Any) -> None:
        self.settings = dataclasses.replace(Settings(data=data), **{"quiet_seconds": 0.0} | settings)
        self.data = data
        self._keyring = Keyring.open(data)
        self._journal = Journal(data / "journal", self._keyring)
        self._tokens = itertools.count()
        self.folding = Folding(self.settings)

    def send(self, *bodies: bytes, signal: str = "traces", tenant: str = "default") -> None:
        for body in bodies:
            self._journal.append(JournalRecord(signal, tenant, None, time.time_ns(), body))

    def append(self, record: JournalRecord) -> None:
        self._journal.append(record)

    def replay(self, letters: DeadLetters, names: list[str]) -> int:
        """What the collector does when it is asked to."""
        return letters.replay(self._journal, names)

    def fold(self) -> None:
        """Folds what was sent, and what log content waits, into a published snapshot."""
        end = self._journal.end()
        (self.data / "run" / "flush").write_text(
            json.dumps({"position": [end.segment, end.offset], "token": f"test-{next(self._tokens)}"})
        )
        self.folding.step()
        while self.folding.step():
            continue
        self.folding.publish()

    def restart(self) -> None:
        """The fold process ends and a new one begins."""
        self.folding.close()
        self.folding = Folding(self.settings)

    def set_price(self, provider: str, model: str, bucket: str, price: float) -> None:
        """What `spanfold prices set` stores."""
        override = PriceOverride(provider=provider, model_pattern=model, bucket=bucket, price=Decimal(str(price)))
        with StateStore.open(self.data) as state:
            state.prices.add([override], who="test")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.data / "spanfold.duckdb"), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def close(self) -> None:
        self.folding.close()
        self._journal.close()


@contextmanager
def product(data: Path, **settings: Any) -> Iterator[Product]:
    running = Product(data, **settings)
    try:
        yield running
    finally:
        running.close()


def batches(spans: Sequence[Span], size: int, scope: str = "test") -> list[bytes]:
    return [traces(spans[i : i + size], scope=scope) for i in range(0, len(spans), size)]
