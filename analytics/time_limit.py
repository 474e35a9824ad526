"""Ends a query that runs too long, so that one reader's question does not hold the machine from all others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from spanfold.analytics.errors import QueryTooSlow

_AGAIN_SECONDS = 0.1  # an interrupt between two statements is forgotten by DuckDB: it is said until the query has ended


@contextmanager
def ended_after(connection: duckdb.DuckDBPyConnection, seconds: float | None) -> Iterator[None]:
    """What runs on this connection meanwhile ends after `seconds` (None = whenever it likes). Raises QueryTooSlow."""
    if seconds is None:
        yield
        return
    over = threading.Event()
    watching = threading.Thread(target=_interrupt, args=(connection, seconds, over), name="time limit", daemon=True)
    watching.start()
    try:
        yield
    except duckdb.InterruptException as error:
        raise QueryTooSlow(
            f"This took longer than {seconds:g} s and was stopped: choose a shorter range or more filters"
        ) from error
    finally:
        over.set()
        watching.join()


def _interrupt(connection: duckdb.DuckDBPyConnection, seconds: float, over: threading.Event) -> None:
    ended = over.wait(seconds)
    while not ended:
        connection.interrupt()
        ended = over.wait(_AGAIN_SECONDS)
