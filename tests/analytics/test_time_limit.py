"""A query ends when its time is over, or when nobody waits for it."""

from __future__ import annotations

import threading
import time

import duckdb
import pytest

from spanfold.analytics.errors import QueryAbandoned, QueryTooSlow
from spanfold.analytics.time_limit import ended_after

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
