"""An error from within DuckDB gives up a whole instance: who asked is told in a sentence, everybody goes on after it.

The error is real: a file whose footer states a negative size (`break_within`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from spanfold.analytics.errors import DatabaseFailed
from spanfold.analytics.prices import PriceBook
from spanfold.analytics.queries import Reader
from spanfold.analytics.snapshot import publish
from spanfold.analytics.snapshots import Snapshots
from spanfold.query_client import QueryFailed
from spanfold.reading import run_sql
from spanfold.settings import Settings
from tests.analytics.lake import DAY, Lake, break_within, span, usage
from tests.spanfold import webbing

SAID = "DuckDB failed from within and was opened anew: ask again; if it stays, `spanfold scrub` finds damaged files."
TRACE = f"{1:032x}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One call with an (empty) context, published."""
    lake = Lake(tmp_path)
    lake.add("spans", [span(1, **usage(uncached_input=10))])
    of_span = {"tenant": "default", "trace_id": TRACE, "span_id": f"{1:016x}", "revision": 0}
    lake.add("contexts", [of_span | {"direction": "input", "source": "span", "chars": 0, "first": 0}])
    publish(tmp_path, lake.manifest(), PriceBook.load(), {})
    return tmp_path


@contextmanager
def broken(data: Path) -> Iterator[None]:
    """Every file of the lake meanwhile."""
    whole = {path: path.read_bytes() for path in (data / "lake").rglob("*.parquet")}
    for path in whole:
        break_within(path)
    yield
    for path, raw in whole.items():
        path.write_bytes(raw)


def test_duckdb_gives_up_the_whole_instance(data: Path) -> None:
    """What all this is about: after one such error not even `SELECT 1` is answered, on any cursor."""
    (spans,) = (data / "lake" / "spans").rglob("*.parquet")
    with broken(data), duckdb.connect() as connection:
        with pytest.raises(duckdb.InternalException):
            connection.cursor().execute(f"SELECT sum(input_tokens) FROM '{spans}'").fetchall()
        with pytest.raises(duckdb.FatalException, match="database has been invalidated"):
            connection.cursor().execute("SELECT 1")


def calls_of(reader: Reader) -> list[dict[str, object]]:
    return reader.rows("trace_calls", trace_id=TRACE)


READS: dict[str, Callable[[Reader], object]] = {
    "query": calls_of,
    "messages": lambda r: r.view().messages([(DAY, "default", TRACE, f"{1:016x}")], words=False),
    "call records": lambda r: list(r.call_records()),
    "sql": lambda r: r.sql("SELECT sum(input_tokens) FROM calls"),
    "all tenants": Reader.all_tenants,
    "some tenants": lambda r: calls_of(r.within(frozenset({"default"}))),
}


@pytest.mark.parametrize("read", [
    name if name in ("query", "call records") else pytest.param(name, marks=pytest.mark.slow) for name in READS
])  # fmt: skip
def test_who_asked_is_told_and_the_next_question_is_answered(data: Path, read: str) -> None:
    """[88] Each way of reading ends in one sentence. The next question is answered at once if it needs no such file,
    and when the files are whole again so is the same one, in the same process."""
    reader = Reader(data)
    with broken(data):
        for _ in range(2):
            with pytest.raises(DatabaseFailed) as told:
                READS[read](reader)
            assert str(told.value) == SAID
            assert reader.rows("snapshot_info")
    assert READS[read](reader)


def test_a_view_that_was_held_says_the_same(data: Path) -> None:
    """Whoever holds the instance that somebody else's question has ended is told so; asked anew, it goes on."""
    reader = Reader(data)
    held = reader.view()
    with broken(data), pytest.raises(DatabaseFailed):
        calls_of(reader)
    with pytest.raises(DatabaseFailed, match="ask again"):
        held.query("snapshot_info")
    assert reader.view().query("snapshot_info").num_rows


def test_over_http(data: Path) -> None:
    """The API answers 503, the sentence and when to come back; afterwards 200, from the same server."""
    with webbing.client_of(Settings(data=data)) as client:
        with broken(data):
            for path in ("/api/v1/traces", "/api/v1/calls", f"/api/v1/traces/{TRACE}"):
                answer = client.get(path)
                assert (answer.status_code, answer.json(), answer.headers["retry-after"]) == (503, {"error": SAID}, "1")
        assert client.get(f"/api/v1/traces/{TRACE}").json()["trace_id"] == TRACE
        assert client.get("/api/v1/calls").text.count("\n") == 1


def test_sql_of_a_person(data: Path) -> None:
    """[72] The process of the query ends with the sentence: no address of code, no path of this machine."""
    text, snapshots = "SELECT sum(input_tokens) FROM calls", Snapshots(data)
    with broken(data), pytest.raises(QueryFailed) as told:
        run_sql(data, text, snapshots=snapshots)
    assert str(told.value) == SAID
    with run_sql(data, text, snapshots=snapshots) as query:
        assert query.table().to_pydict() == {"sum(input_tokens)": [10]}
