"""The whole product from outside: stock exporters send, a stock DuckDB reads meanwhile, the numbers are those sent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from grpc import Compression
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind

from tests.flow.running import Running, printed_json, up, wait_for

LOOK = "SELECT (SELECT count(*) FROM spans), count(*), sum(input_tokens), sum(output_tokens) FROM calls"
READER = f"""
import duckdb, json, os, sys
path, stop = sys.argv[1:]
while True:
    last = os.path.exists(stop)
    with duckdb.connect(path, read_only=True) as connection:
        row = connection.execute({LOOK!r}).fetchone()
        rolled = connection.execute(
            "SELECT sum(calls), sum(input_tokens), sum(output_tokens) FROM rollup_hourly"
        ).fetchone()
    print(json.dumps([[int(v or 0) for v in row], [int(v or 0) for v in rolled]]), flush=True)
    if last:
        break
"""


class StockReader:
    """A process that opens the file with DuckDB alone, again and again, and prints what it finds."""

    def __init__(self, database: Path, tmp_path: Path) -> None:
        wait_for(database.exists, 30, "the first snapshot")
        self._stop, self._out, self._errors = (tmp_path / f"reader.{name}" for name in ("stop", "out", "err"))
        with self._out.open("wb") as out, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", READER, str(database), str(self._stop)], stdout=out, stderr=errors
            )

    def looks(self) -> list[Any]:
        """Everything it saw so far."""
        return [json.loads(line) for line in self._out.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def end(self) -> tuple[int, str]:
        """Its exit code and errors, after one more look."""
        self._stop.touch()
        return self._process.wait(60), self._errors.read_text()


def send(exporter: SpanExporter, service: str, agents: int) -> None:
    """Agents that repeat the usage of their two calls, with the stock SDK: three spans each, 25 a request."""
    provider = TracerProvider(resource=Resource({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=25, max_queue_size=100_000))
    tracer = provider.get_tracer("stock")
    for number in range(agents):
        with tracer.start_as_current_span("invoke_agent") as agent:
            agent.set_attributes(usage("invoke_agent", 3 * number, 30))
            for share in (1, 2):
                with tracer.start_as_current_span("chat gpt-4o-mini", kind=SpanKind.CLIENT) as call:
                    call.set_attributes(usage("chat", share * number, 10 * share))
    provider.shutdown()


def usage(operation: str, given: int, said: int) -> dict[str, str | int]:
    return {
        "gen_ai.operation.name": operation, "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": given, "gen_ai.usage.output_tokens": said,
    }  # fmt: skip


def exporters(product: Running) -> list[tuple[str, SpanExporter]]:
    http = f"http://127.0.0.1:{product.http_port}/v1/traces"
    return [
        ("over-grpc", GrpcExporter(f"127.0.0.1:{product.grpc_port}", insecure=True, compression=Compression.Gzip)),
        ("over-http", HttpExporter(http, compression=HttpCompression.Gzip)),
    ]


def test_what_stock_exporters_send_a_stock_duckdb_reads_exactly(tmp_path: Path) -> None:
    """A hundred gzipped requests over both protocols. A stock DuckDB opens the file all the while without one error and
    never sees a count shrink or a rollup disagree; after `flush` it has exactly the spans, calls and tokens sent."""
    agents = 200
    with up(tmp_path) as product:
        reader = StockReader(product.data / "spanfold.duckdb", tmp_path)
        for _ in range(2):
            for service, exporter in exporters(product):
                before = reader.looks()[-1:]
                send(exporter, service, agents)
                wait_for(lambda seen=before: reader.looks()[-1:] != seen, 30, "what was just sent")
        product.flush()
        ended = reader.end()
        status = printed_json(product.spanfold("status", "--json"))
        exported = [json.loads(line) for line in product.spanfold("export").stdout.splitlines()]
    looks = reader.looks()
    calls, given, said = 8 * agents, 4 * sum(3 * n for n in range(agents)), 4 * 30 * agents
    assert ended == (0, "")
    assert looks[-1] == [[12 * agents, calls, given, said], [calls, given, said]]
    assert all(seen[1:] == rolled for seen, rolled in looks)
    assert sorted(looks) == looks
    assert len({json.dumps(look) for look in looks}) >= 4
    assert status["signals"]["traces"]["requests"]["accepted"] >= 96
    assert (status["accepted"], status["folded"], status["rejected"], status["refused"]) == (
        12 * agents, 12 * agents, 0, 0
    )  # fmt: skip
    assert (len(exported), sum(record["input_tokens"] for record in exported)) == (calls, given)
    assert Counter(record["service_name"] for record in exported) == {"over-grpc": calls // 2, "over-http": calls // 2}
