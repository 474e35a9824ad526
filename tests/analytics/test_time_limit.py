"""A query ends when its time is over, or when nobody waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from spanfold.analytics import content
from spanfold.analytics.errors import QueryAbandoned, QueryTooSlow
from spanfold.analytics.prices import PriceBook
from spanfold.analytics.queries import Reader, View
from spanfold.analytics.snapshot import publish
from spanfold.analytics.time_limit import ended_after
from tests.analytics.lake import DAY, Lake, span

ENDLESS = "SELECT count(*) FROM range(1000000000) AS a(i), range(1000000) AS b(j) WHERE (i * j) % 7 = 3"


def test_what_nobody_waits_for_ends() -> None:
    """It ends within a second of the moment, and not before; the connection is good for the next query."""
    gone, began = threading.Event(), time.monotonic()
    leaving = threading.Timer(0.3, gone.set)
    with duckdb.connect() as connection:
        leaving.start()
        with pytest.raises(QueryAbandoned), ended_after(connection, 60, lambda: not gone.is_set()):
            connection.execute(ENDLESS)
        assert 0.3 <= time.monotonic() - began < 2
        with ended_after(connection, None, lambda: True):
            assert connection.execute("SELECT 7").fetchall() == [(7,)]


def test_what_is_awaited_ends_at_its_time() -> None:
    """Somebody waits, but not for ever."""
    late = pytest.raises(QueryTooSlow, match=r"longer than 0\.2 s")
    with duckdb.connect() as connection, late, ended_after(connection, 0.2, lambda: True):
        connection.execute(ENDLESS)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """One call."""
    lake = Lake(tmp_path)
    lake.add("spans", [span(1)])
    publish(tmp_path, lake.manifest(), PriceBook.load(), {})
    return Reader(tmp_path)


def endless(cursor: duckdb.DuckDBPyConnection, *_: object) -> list[object]:
    return cursor.execute(ENDLESS).fetchall()


@pytest.mark.parametrize("read", [
    lambda view: view.messages([(DAY, "default", "ab" * 16, "cd" * 8)], words=True),
    lambda view: view.private([{"date": DAY, "tenant": "default", "private_block": "ab"}]),
])  # fmt: skip
def test_opening_content_ends_like_a_query(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, read: Callable[[View], object]
) -> None:
    """Also what opens words has its time, and ends when its page is left."""
    monkeypatch.setattr(content, "_fetch", endless)
    late, gone = Reader(reader.data, seconds=0.2), reader.while_awaited(lambda: False)
    with pytest.raises(QueryTooSlow):
        read(late.view())
    with pytest.raises(QueryAbandoned):
        read(gone.view())


def test_call_records_end_when_nobody_waits(reader: Reader) -> None:
    """Whoever leaves before the first of them ends their query; one who waits gets them all."""
    waits = threading.Event()
    waits.set()
    records = reader.while_awaited(waits.is_set).call_records(f"({ENDLESS}) > 0")
    threading.Timer(0.3, waits.clear).start()
    with pytest.raises(QueryAbandoned):
        next(records)
    assert len(list(reader.while_awaited(lambda: True).call_records())) == 1
