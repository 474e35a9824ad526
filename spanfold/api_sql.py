"""One SELECT of a person over HTTP: process, gate and limits of `spanfold sql`; it ends when nobody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import orjson
from pydantic import BaseModel, ConfigDict, Field

from spanfold.errors import SpanfoldError
from spanfold.exports import distinct_names, ndjson_lines
from spanfold.query_client import Limits, Query

AT_ONCE = 2  # queries that run at the same time; the next one waits a little, then is told to come back
PATIENCE_SECONDS = 5.0
MOST_ROWS, MOST_SECONDS = 100_000, 60
_MEMORY, _RESULT = 512 << 20, 64 << 20


class SqlRequest(BaseModel):
    """One SELECT over the published views."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(max_length=100_000)
    content: bool = Field(False, description="Let messages.content be read, where the caller may.")
    rows: int = Field(10_000, ge=1, le=MOST_ROWS, description="Most rows to give.")
    seconds: int = Field(30, ge=1, le=MOST_SECONDS, description="When to stop.")

    def limits(self) -> Limits:
        return Limits(
            seconds=self.seconds, rows=self.rows, result_bytes=_RESULT, memory_bytes=_MEMORY, content_bytes=_RESULT
        )  # fmt: skip


class TooBusy(SpanfoldError):
    """Other queries are running: come back in a moment."""


class Cancellation:
    """Ends a query when its caller has gone, whether it has begun or not."""

    def __init__(self) -> None:
        self._lock, self._gone = threading.Lock(), False
        self._query: Query | None = None

    def watch(self, query: Query) -> None:
        with self._lock:
            self._query = query
            if self._gone:
                query.cancel()

    def awaited(self) -> bool:
        """Is the caller still there?"""
        return not self._gone

    def cancel(self) -> None:
        with self._lock:
            self._gone = True
            if self._query is not None:
                self._query.cancel()


class Slots:
    """How many queries run at once."""

    def __init__(self) -> None:
        self._free = threading.Semaphore(AT_ONCE)

    def __enter__(self) -> None:
        if not self._free.acquire(timeout=PATIENCE_SECONDS):
            raise TooBusy

    def __exit__(self, *_: object) -> None:
        self._free.release()


def lines(query: Query) -> Iterator[bytes]:
    """The rows, one JSON object a line, and a last line that says whether a limit cut them off."""
    count = 0
    names = distinct_names(query.schema).names
    for batch in query.batches():
        count += batch.num_rows
        yield from ndjson_lines(batch.rename_columns(names))
    yield orjson.dumps({"rows": count, "truncated": query.truncated}, option=orjson.OPT_APPEND_NEWLINE)
