"""Columns are added within a schema version: what an older release wrote lacks them, and everything still reads it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import xxhash

from spanfold.erasing import Eraser, Request
from spanfold.exporter.manifest import read_current, write_current
from spanfold.fold_process import compact_all, fold_to_end
from spanfold.reading import open_reader
from spanfold.semconv.schema import SPANS
from spanfold.settings import Settings
from tests.flow.sending import NOON, SECOND, chat, product, span, traces
from tests.flow.test_golden import DAY, SQL, copy_of_golden

ADDED_SINCE = {  # as if these columns had come after the golden directory was written; none of its rows uses them
    "spans": {"ttft_ms", "streaming", "truncated", "trace_state", "web_searches"},
    "contexts": {"answer_gram"},
    "messages": set(),
    "suppressed": {"fills"},
    "metrics": {"value_int", "exemplars"},
    "logs": {"time_nanos", "attributes_typed"},
}
TODAY = len(SPANS)
ADDED_TO_ALL = {"lake.spans": "ttft_ms", "lake.metrics": "value_int", "lake.logs": "time_nanos"}


def drop_columns(data: Path, added: dict[str, Collection[str]]) -> None:
    """Writes the files of the newest manifest without these columns, and the manifest that names them."""
    manifest, files = read_current(data), []
    for file in manifest.files:
        path = data / file.path
        rows = pq.ParquetFile(path).read()
        kept = rows.drop_columns([name for name in added.get(file.table, ()) if name in rows.column_names])
        pq.write_table(kept, path, compression="zstd")
        raw = path.read_bytes()
        files.append(replace(file, bytes=len(raw), checksum=xxhash.xxh3_128_hexdigest(raw)))
    write_current(data, replace(manifest, version=manifest.version + 1, files=tuple(files)))


@pytest.fixture
def older(tmp_path: Path) -> Path:
    data = copy_of_golden(tmp_path / "data")
    drop_columns(data, ADDED_SINCE)
    return data


def expected(data: Path) -> None:
    """The rows of the golden directory, and NULL for what it did not know."""
    with duckdb.connect(str(data / "spanfold.duckdb"), read_only=True) as connection:
        for sql, rows in SQL.items():
            assert connection.execute(sql).fetchall() == rows, sql
        for table, column in ADDED_TO_ALL.items():
            assert connection.execute(f"SELECT count({column}) FROM {table}").fetchall() == [(0,)]
    assert len([r for r in open_reader(data).call_records(content=True) if r["gen_ai.input.messages"]]) == 3


def test_views_read_files_with_and_without_a_column(older: Path) -> None:
    """Old files lack columns that the file of the newest commit has: every view gives the rows of both."""
    fold_to_end(Settings(data=older))  # the last record of the golden journal becomes a file of today
    assert {len(pq.read_schema(older / f.path).names) for f in read_current(older).files_of("spans")} == {
        TODAY - len(ADDED_SINCE["spans"]),
        TODAY,
    }
    expected(older)


def test_compaction_brings_old_files_up_to_date(older: Path) -> None:
    """Merging and repacking old with new files gives today's columns and the same rows."""
    fold_to_end(Settings(data=older))
    compact_all(Settings(data=older))
    (spans,) = read_current(older).files_of("spans", DAY.isoformat())
    assert len(pq.read_schema(older / spans.path).names) == TODAY
    expected(older)


def test_an_older_trace_goes_on(older: Path) -> None:
    """A late span of a trace in an old file is derived together with it: the agent with usage is still no call."""
    late = chat(1, 9, 1, start=NOON + 9 * SECOND, tokens=(7, 7))
    alone = span(2, 8, name="GET", start=NOON + 86_400 * SECOND)
    with product(older) as p:
        p.send(traces([late, alone]))
        p.fold()
        assert p.query("SELECT span_id[-1:] FROM calls WHERE trace_id[-1:] = '1' ORDER BY start_time") == [
            ("2",), ("4",), ("9",)
        ]  # fmt: skip
        assert p.query("SELECT span_id[-1:], reason FROM suppressed") == [("1", "container")]
        assert p.query("SELECT spans FROM meta.snapshot") == p.query("SELECT count(*) FROM spans") == [(9,)]


def test_a_trace_in_old_files_is_erased(older: Path) -> None:
    """Erasure rewrites files that lack columns: the words of the trace are gone, the others are as they were."""

    def words() -> dict[str, object]:
        return {r["span_id"]: r["gen_ai.input.messages"] for r in open_reader(older).call_records(content=True)}

    with product(older) as p:
        p.fold()
        before, trace = words(), f"{1:032x}"
        Eraser(p.folding, p.settings).erase(Request("trace", trace, "default", "admin", False))
        p.folding.publish()
        mine = {span for (span,) in p.query(f"SELECT span_id FROM calls WHERE trace_id = '{trace}'")}
        assert [before[span] is not None for span in mine] == [True] * 2
        assert words() == {span: None if span in mine else said for span, said in before.items()}
