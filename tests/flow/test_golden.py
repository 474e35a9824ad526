"""A data directory that this release's format was written in, kept as data: every release reads it to the same rows."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from spanfold.analytics.queries import Reader
from spanfold.collector.segments import frames, segment_numbers, segment_path
from spanfold.exporter.errors import KeyMissing
from spanfold.exporter.keys import Keyring
from spanfold.exporter.lake import read_table
from spanfold.exporter.manifest import read_current
from spanfold.fold_process import fold_to_end
from spanfold.reading import open_reader, open_state
from spanfold.settings import Settings
from spanfold.shown import span_document
from spanfold.state.targets import Target

GOLDEN = Path(__file__).parent.parent / "golden" / "schema-1"
DAY, NEXT = dt.date(2025, 11, 20), dt.date(2025, 11, 21)


def copy_of_golden(to: Path) -> Path:
    """A copy that may be written: git keeps no modes, and a root key that others can read is refused."""
    shutil.copytree(GOLDEN, to)
    (to / "keys" / "root.key").chmod(0o600)
    return to


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden directory, its last journal record folded and a snapshot published by today's code."""
    data = copy_of_golden(tmp_path_factory.mktemp("golden") / "data")
    fold_to_end(Settings(data=data))
    return data


@pytest.fixture
def reader(data: Path) -> Reader:
    return open_reader(data)


def hexed(number: int, digits: int) -> str:
    return f"{number:0{digits}x}"


def say(role: str, words: str, **more: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": words}]} | more


def test_call_records_with_their_words(reader: Reader) -> None:
    """Usage, price, links and words of every call; one has them from a log, one was still in the journal."""
    asked, answered = say("user", "How warm is it in Ulm? Mail [EMAIL]"), say("assistant", "I look it up.")
    names = ("input_tokens", "output_tokens", "cost", "conversation", "context_messages", "new_messages",
             "gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages")  # fmt: skip
    found = {
        (int(record["trace_id"], 16), int(record["span_id"], 16)): tuple(record[name] for name in names)
        for record in reader.call_records(content=True)
    }
    alone = [f"{hexed(trace, 32)}/{hexed(1, 16)}" for trace in range(5)]
    assert found == {
        (1, 2): (100, 10, 2.1e-05, "session-1", 1, 1, [{"type": "text", "content": "Be brief."}],
                 [asked], [answered | {"finish_reason": "stop"}]),
        (1, 4): (200, 20, 4.2e-05, "session-1", 3, 1, None, [asked, answered, say("tool", "21 degrees")],
                 [say("assistant", "21 degrees.", finish_reason="unknown")]),
        (2, 1): (5, 0, None, alone[2], None, None, None, None, None),
        (3, 1): (100, 10, 2.1e-05, alone[3], 1, 1, None,
                 [say("user", "From a log")], [say("assistant", "Yes", finish_reason="unknown")]),
        (4, 1): (1, 1, 7.5e-07, alone[4], None, None, None, None, None),
    }  # fmt: skip


def test_private_parts_open_with_the_keys_of_then(reader: Reader) -> None:
    """What may not be read without a key comes back: status message, database statement, a tool's result."""
    failed = span_document(reader.view(), hexed(1, 16), trace_id=hexed(2, 32), content=True)
    tool = span_document(reader.view(), hexed(3, 16), trace_id=hexed(1, 32), content=True)
    assert failed is not None
    assert tool is not None
    assert (failed["status_message"], failed["attributes"]["db.statement"]) == (
        "the upstream said no", "SELECT name FROM people"
    )  # fmt: skip
    assert "21 degrees" in json.dumps(tool["gen_ai.output.messages"])


SQL = {
    "SELECT date, count(*) FROM spans GROUP BY 1 ORDER BY 1": [(DAY, 6), (NEXT, 1)],
    "SELECT model, calls, errors, input_tokens, output_tokens, cost, unpriced_calls FROM rollup_daily ORDER BY date": [
        ("gpt-4o-mini", 4, 0, 401, 41, 8.475e-05, 0), ("house-model", 1, 1, 5, 0, None, 1),
    ],
    "SELECT role, count(*), sum(redactions) FROM messages GROUP BY 1 ORDER BY 1": [
        ("assistant", 3, 0), ("system", 1, 0), ("tool", 2, 0), ("user", 2, 1),
    ],
    "SELECT span_id[-1:], direction, count(*) FROM call_messages WHERE trace_id[-1:] = '1' GROUP BY ALL ORDER BY ALL": [
        ("2", "input", 1), ("2", "output", 1), ("4", "input", 3), ("4", "output", 1),
    ],
    "SELECT continues_span_id[-1:] FROM calls WHERE continues_span_id IS NOT NULL": [("2",)],
    "SELECT span_id[-1:], reason FROM suppressed": [("1", "container")],
    "SELECT event_name, body FROM logs": [("gen_ai.client.inference.operation.details", None)],
    "SELECT name, unit, value, attributes->>'queue' FROM metrics": [("queue.length", "{item}", 7.0, "mail")],
    "SELECT rule, place, count FROM redactions": [("email", "message", 1)],
    "SELECT kind, count FROM data_quality WHERE kind LIKE '%duplicate%'": [("duplicate_span", 1)],
    "SELECT error_type, tags, attributes->>'db.statement' FROM spans WHERE status = 'error'": [
        ("timeout", ["night", "batch"], None)
    ],
    "SELECT kind, trace_id[-1:], state, revision, who FROM reviews": [("trace", "1", "approved", 1, "ann")],
    "SELECT to_state, has_comment FROM review_events": [("approved", True)],
    "SELECT spans FROM meta.snapshot": [(7,)],
    "SELECT title, service, completed_at FROM deploys": [
        ("Shorter prompts", "shop", dt.datetime(2025, 11, 20, 12))
    ],
}  # fmt: skip


def test_a_stock_duckdb_reads_the_same_rows(data: Path) -> None:
    """DuckDB alone, in another process, without a key: the rows that were written then, to the last digit."""
    code = (
        "import duckdb, json, sys; c = duckdb.connect(sys.argv[1], read_only=True);"
        "print(json.dumps([c.execute(sql).fetchall() for sql in json.load(sys.stdin)], default=str))"
    )
    command = [sys.executable, "-I", "-c", code, str(data / "spanfold.duckdb")]
    answer = subprocess.run(command, input=json.dumps(list(SQL)), capture_output=True, text=True, check=True)
    expected = json.loads(json.dumps(SQL, default=str))
    assert dict(zip(SQL, json.loads(answer.stdout), strict=True)) == expected


def test_decisions_and_their_comments_open(data: Path) -> None:
    """The control plane of then, comments included."""
    with open_state(data) as state:
        (event,) = state.reviews.history(Target.trace(hexed(1, 32)))
    assert (event.to_state, event.comment) == ("approved", "short and right")


def test_every_file_and_record_states_its_version() -> None:
    """Journal records, manifests, Parquet files, identity runs, content blocks, the keyring, dead letters and the
    control plane each say in which format they are written."""
    files = [path for path in GOLDEN.rglob("*") if path.is_file()]
    seen: dict[str, set[Any]] = {}
    for path in files:
        place = path.relative_to(GOLDEN).parts[0]
        kind = f"{place}{path.suffix}"
        seen.setdefault(kind, set()).update(versions(path))
    assert seen == {
        "journal.seg": {1},
        "lake.parquet": {"1"},
        "lake.keys": {b"SFKEYS1\n"},
        "lake.json": {(1, 1)},
        "lake": {"3"},  # manifest/current: no more than the name of the newest manifest
        "keys.json": {1},
        "keys.key": {64},  # root.key: the key and nothing else
        "dead-letters.json": {1},
        "dead-letters.bin": {"sealed"},
        "state.db.db": {True},
    }
    manifest = read_current(GOLDEN)
    blocks = [ct for file in manifest.files_of("content") for ct in read_table(GOLDEN, file)["ct"].to_pylist()]
    assert {ct[0] for ct in blocks} == {1}
    assert sum(path.stat().st_size for path in files) < 300_000


def versions(path: Path) -> set[Any]:
    if path.suffix == ".seg":
        numbers = segment_numbers(path.parent)
        assert path == segment_path(path.parent, numbers[0])
        return {frame.header.version for frame in frames(path.read_bytes())}
    if path.suffix == ".parquet":
        return {pq.read_schema(path).metadata[b"spanfold.schema_version"].decode()}
    if path.suffix == ".keys":
        return {path.read_bytes()[:8]}
    if path.parent.name == "manifest" and path.suffix:
        body = json.loads(path.read_text().splitlines()[0])
        return {(body["format"], body["schema_version"])}
    if path.suffix == ".json":
        body = json.loads(path.read_text())
        return {body["version"] if "version" in body else body["format"]}
    if path.suffix == ".db":
        with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as database:
            return {bool(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])}
    if path.suffix == ".bin":
        return {"sealed"}
    text = path.read_text().strip()
    return {len(text) if path.suffix == ".key" else text}


def test_without_its_key_metrics_stay_readable_and_folding_refuses(tmp_path: Path) -> None:
    """A copy without its root key: numbers as before, words closed, and nothing is written under another key."""
    data = copy_of_golden(tmp_path / "data")
    fold_to_end(Settings(data=data))
    (data / "keys" / "root.key").unlink()
    reader = open_reader(data)
    assert [record["cost"] for record in reader.call_records()][:2] == [2.1e-05, 4.2e-05]
    with pytest.raises(KeyMissing):
        list(reader.call_records(content=True))
    with pytest.raises(KeyMissing):
        Keyring.open(data)
