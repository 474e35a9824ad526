"""What must stay cheap, with room for a busy machine: re-costing, and publishing whatever is stored already."""

from __future__ import annotations

import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from spanfold.analytics.prices import PriceBook
from spanfold.analytics.snapshot import Publisher
from spanfold.analytics.views import cost_sql
from spanfold.semconv.schema import COUNT_COLUMNS
from tests.analytics.lake import Lake, span

MODELS = [
    ("openai", "gpt-5", "gpt-5-2025-08-07"), ("anthropic", "claude-sonnet-4-5", None), ("ollama", "llama3", "llama3"),
    ("google", "gemini-2.5-pro", "gemini-2.5-pro"), ("openai", "own", "own"), ("deepseek", "deepseek-chat", None),
]  # fmt: skip


@pytest.mark.slow
def test_a_million_calls_are_priced_in_two_seconds() -> None:
    """One query re-costs 1,000,000 calls of several models, tiers and years in under 2 s on 2 cores."""
    rng, count = np.random.default_rng(3), 1_000_000
    chosen = rng.integers(0, len(MODELS), count).astype("int32")
    columns: dict[str, pa.Array] = {
        name: pa.DictionaryArray.from_arrays(pa.array(chosen), pa.array([m[i] for m in MODELS])).cast(pa.string())
        for i, name in enumerate(("provider", "request_model", "response_model"))
    }
    tiers = np.array([None, "batch", "flex"], dtype=object)[rng.integers(0, 3, count)]
    starts = 1_700_000_000_000_000 + rng.integers(0, 90_000_000_000_000, count)
    columns |= {"service_tier": pa.array(tiers, pa.string()), "start_time": pa.array(starts).cast(pa.timestamp("us"))}
    columns |= {name: pa.array(rng.integers(0, 300_000, count)) for name in COUNT_COLUMNS}
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("CREATE SCHEMA book")
        for name, rows in (("book.rates", PriceBook.load().rates(MODELS)), ("calls", pa.table(columns))):
            connection.register("incoming", rows)
            connection.execute(f"CREATE TABLE {name} AS FROM incoming")
        began = time.perf_counter()
        found = connection.sql(f"SELECT count(*), count(cost) FROM ({cost_sql('calls')})").fetchall()
        took = time.perf_counter() - began
    assert found == [(count, int((chosen != 4).sum()))]
    assert took < 2


@pytest.mark.slow
def test_publishing_costs_the_same_whatever_is_stored(tmp_path: Path) -> None:
    """A version over 400 files of a table takes at most three times the CPU of one over a single file (rule 11)."""
    book, took = PriceBook.load(), []
    for files in (1, 400):
        lake = Lake(tmp_path / str(files))
        entry = lake.add("spans", [span(1)])
        lake.files = [entry] * files
        publisher = Publisher(lake.data)
        publisher.publish(lake.manifest(), book, {})
        times = []
        for _ in range(5):
            began = time.process_time()
            publisher.publish(lake.manifest(), book, {}, models=[])
            times.append(time.process_time() - began)
        took.append(min(times))
    assert took[0] < 0.2
    assert took[1] < 3 * took[0]
