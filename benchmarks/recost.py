"""Measures re-costing: a month of calls priced anew by one query, on two threads of a published snapshot.

python benchmarks/recost.py                     # 1,000,000 calls; fails where one query over all takes over 2 s
python benchmarks/recost.py --calls 100000      # a quick look
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spanfold.analytics import price_preview
from spanfold.analytics.prices import PriceBook
from spanfold.analytics.snapshot import publish
from spanfold.analytics.snapshots import Snapshots
from spanfold.exporter.manifest import FileEntry, Manifest
from spanfold.semconv.schema import TABLES
from spanfold.state.price_overrides import PriceOverride

FIRST_DAY, DAYS, FILES_A_DAY = dt.date(2026, 10, 20), 30, 2
MODELS = [  # provider, requested, answered, service tier
    ("openai", "gpt-5", "gpt-5-2025-08-07", None), ("openai", "gpt-5", "gpt-5-2025-08-07", "flex"),
    ("openai", "gpt-5", None, "priority"), ("openai", "gpt-5", None, "batch"), ("openai", "gpt-5-mini", None, None),
    ("openai", "gpt-5.5", None, None), ("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", "default"),
    ("openai", "text-embedding-3-small", None, None), ("anthropic", "claude-sonnet-4-5", None, None),
    ("anthropic", "claude-haiku-4-5", "claude-haiku-4-5-20251001", "standard"),
    ("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", None, None),
    ("gcp.gemini", "gemini-2.5-pro", None, None), ("gcp.gemini", "gemini-3-flash-preview", None, None),
    ("deepseek", "deepseek-chat", None, None), ("ollama", "llama3.2:3b", None, None),
    ("azure", "team-deployment-7", "gpt-4o-2024-08-06", None), ("azure", "team-deployment-8", None, None),
    ("openrouter", "anthropic/claude-haiku-4-5", None, None), ("vllm", "house-model", None, None),
    *((None, f"gpt-5-{number:03d}", "gpt-5", None) for number in range(40)),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """A question over all calls. `within`: seconds it may take, None = only measured."""

    name: str
    ask: Callable[[], Any]
    within: float | None = None


def lake(data: Path, calls: int) -> Manifest:
    """Writes that many calls, a tenth more suppressed candidates, and answers of twins for some of them."""
    files: list[FileEntry] = []
    each = -(-calls // (DAYS * FILES_A_DAY))
    for number in range(DAYS * FILES_A_DAY):
        day = FIRST_DAY + dt.timedelta(days=number // FILES_A_DAY)
        spans = _spans(number, each + each // 10, day)
        files.append(_write(data, "spans", day, number, spans))
        files.append(_write(data, "suppressed", day, number, _decisions(spans, each)))
    return Manifest(version=1, files=tuple(files))


def _spans(number: int, rows: int, day: dt.date) -> pa.Table:
    chance = np.random.default_rng(number)
    model = chance.integers(0, len(MODELS), rows)
    ids = np.arange(number * rows, (number + 1) * rows)
    read, fresh, write = (chance.integers(0, most, rows) for most in (150_000, 150_000, 20_000))
    answer, thought = chance.integers(1, 4_000, rows), chance.integers(0, 4_000, rows)
    start = np.datetime64(day.isoformat(), "us") + np.sort(chance.integers(0, 86_400_000_000, rows)).astype("m8[us]")
    given: dict[str, Any] = {
        "trace_id": [f"{i // 4:032x}" for i in ids], "span_id": [f"{i:016x}" for i in ids],
        "tenant": ["default"] * rows,
        "start_time": start, "duration_ns": chance.integers(10**8, 10**10, rows), "is_candidate": [True] * rows,
        "status": ["success"] * rows, "service_name": [f"service-{i}" for i in chance.integers(0, 20, rows)],
        "input_tokens": read + fresh + write, "uncached_input_tokens": fresh, "cache_read_tokens": read,
        "cache_write_tokens": write, "output_tokens": answer + thought, "text_output_tokens": answer,
        "reasoning_tokens": thought,
    }  # fmt: skip
    for at, name in enumerate(("provider", "request_model", "response_model", "service_tier")):
        given[name] = pa.array([entry[at] for entry in MODELS], pa.string()).take(pa.array(model))
    schema = TABLES["spans"]
    columns = [pa.array(given[f.name], f.type) if f.name in given else pa.nulls(rows, f.type) for f in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _decisions(spans: pa.Table, calls: int) -> pa.Table:
    """The rows after `calls` are twins; every tenth of them fills in what its call lacks."""
    twins = spans.slice(calls).select(["tenant", "trace_id", "span_id"])
    taking = spans.slice(0, twins.num_rows // 10).select(["tenant", "trace_id", "span_id"])
    tables = [
        _filled(twins, {"revision": 1, "reason": "twin"}),
        _filled(taking, {"revision": 1, "fills": '{"finish_reasons": ["stop"]}'}),
    ]
    return pa.concat_tables(tables)


def _filled(ids: pa.Table, values: dict[str, Any]) -> pa.Table:
    columns = [
        ids[f.name] if f.name in ids.schema.names else pa.array([values.get(f.name)] * len(ids), f.type)
        for f in TABLES["suppressed"]
    ]
    return pa.Table.from_arrays(columns, schema=TABLES["suppressed"])


def _write(data: Path, table: str, day: dt.date, number: int, rows: pa.Table) -> FileEntry:
    path = f"lake/{table}/gen=0/date={day}/{number:08d}.parquet"
    target = data / path
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, target, compression="zstd", row_group_size=122_880)
    return FileEntry(table=table, date=str(day), path=path, rows=rows.num_rows, bytes=target.stat().st_size,
                     checksum="", level=0, created=1)  # fmt: skip


def another_book() -> PriceBook:
    """The list with an own price over every model, so that all calls cost something else."""
    price = PriceOverride(
        provider="*", model_pattern="*", bucket="text_output", price=Decimal("0.00001"), source="benchmark"
    )
    return PriceBook.load([price])


def questions(cursor: duckdb.DuckDBPyConnection, book: PriceBook) -> list[Asked]:
    by_model = "SELECT coalesce(response_model, request_model) AS model, count(*), sum(cost)"
    ways = "SELECT model, sum(cost), sum(cost_believed), sum(cost_today) FROM call_costs GROUP BY ALL"
    another = another_book()
    return [
        Asked("all calls at the prices in force", lambda: cursor.sql(f"{by_model} FROM lake.priced GROUP BY ALL")
              .fetchall(), 2.0),
        Asked("at the prices of today", lambda: cursor.sql(f"{by_model} FROM lake.priced_today GROUP BY ALL")
              .fetchall(), 2.0),
        Asked("three bases side by side", lambda: cursor.sql(ways).fetchall()),
        Asked("what another book would change (two prices a call)",
              lambda: price_preview.difference(cursor, book, another)),
        Asked("every call as gpt-5-mini, batch",
              lambda: price_preview.whatif(cursor, book, model="*", as_model="gpt-5-mini", tier="batch")),
    ]  # fmt: skip


def seconds(ask: Callable[[], Any]) -> float:
    start = time.perf_counter()
    ask()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, book = Path(folder), PriceBook.load()
        manifest = lake(data, given.calls)
        took = seconds(lambda: publish(data, manifest, book, {}))
        cursor = Snapshots(data).newest().cursor()
        cursor.sql("SET threads = 2")
        ((calls, priced),) = cursor.sql("SELECT count(*), count(cost) FROM lake.priced").fetchall()
        print(f"{calls:,} calls of {len(MODELS)} models over {DAYS} days, {priced:,} priced; published in {took:.2f} s")
        slow = []
        for asked in questions(cursor, book):
            best = min(seconds(asked.ask) for _ in range(3))
            print(f"{asked.name:52s} {best:6.2f} s")
            if asked.within is not None and best > asked.within:
                slow.append(asked.name)
    if slow:
        sys.exit(f"took longer than it may: {', '.join(slow)}")


if __name__ == "__main__":
    main()
