"""Ends a query that runs too long or that nobody waits for any more, so that one reader's question does not hold the
machine from all others."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

from spanfold.analytics.errors import QueryAbandoned, QueryTooSlow

Awaited = Callable[[], bool]  # does somebody still wait for the answer? From any thread, quick
_AGAIN_SECONDS = 0.1  # an interrupt between two statements is forgotten by DuckDB: it is said until the query has ended
_LOOK_SECONDS = 0.1  # how often `Awaited` is asked


@contextmanager
def ended_after(
    connection: duckdb.DuckDBPyConnection, seconds: float | None, awaited: Awaited | None = None
) -> Iterator[None]:
    """What runs on this connection meanwhile ends after `seconds` (None = whenever it likes), or soon after nobody
    waits for it. Raises QueryTooSlow, QueryAbandoned."""
    if seconds is None and awaited is None:
        yield
        return
    over = threading.Event()
    watch = _Watch(connection, math.inf if seconds is None else seconds, awaited, over)
    watching = threading.Thread(target=watch.run, name="time limit", daemon=True)
    watching.start()
    try:
        yield
    except duckdb.InterruptException as error:
        if watch.abandoned:
            raise QueryAbandoned(QueryAbandoned.__doc__) from error
        raise QueryTooSlow(
            f"This took longer than {seconds:g} s and was stopped: choose a shorter range or more filters"
        ) from error
    finally:
        over.set()
        watching.join()


class _Watch:
    """Interrupts one query when its time is over."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, seconds: float, awaited: Awaited | None, over: threading.Event
    ) -> None:
        self._connection, self._end, self._awaited, self._over = connection, time.monotonic() + seconds, awaited, over
        self.abandoned = False

    def run(self) -> None:
        while not self._over.wait(
            min(self._end - time.monotonic(), math.inf if self._awaited is None else _LOOK_SECONDS)
        ):
            self.abandoned = self._awaited is not None and not self._awaited()
            if self.abandoned or time.monotonic() >= self._end:
                break
        while not self._over.is_set():
            self._connection.interrupt()
            self._over.wait(_AGAIN_SECONDS)
