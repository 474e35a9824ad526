"""Runs a user's SQL in a process of its own (`query_process`) and hands its rows on as they come."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from spanfold import query_frames

WordsOf = Callable[[pa.Table], pa.Array]  # columns query_process.PLACE -> content of each row as JSON text or NULL
_GRACE_SECONDS = 5  # what the process may need beyond its own time limit to say that it is over


class QueryError(Exception):
    """A user's query did not run to its end."""


class QueryRefused(QueryError):
    """The text is not one SELECT over the published views."""


class QueryFailed(QueryError):
    """The query is wrong, or needs more memory than it may have."""


class QueryTooSlow(QueryError):
    """The query was stopped at its time limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one query may use."""

    seconds: int = 60
    rows: int = 1_000_000
    result_bytes: int = 1 << 30
    memory_bytes: int = 1 << 30
    content_bytes: int = 1 << 30  # decoded words
    threads: int = 2


class Query:
    """A running query: a context manager; `schema` is known at once, `batches()` may be read once.

    `truncated` tells afterwards whether a limit cut the rows off. `folders`: where the snapshot's files lie. `closed`:
    schemas of the snapshot that may not be named. `started` is told of the query as soon as it can be cancelled.
    """

    def __init__(
        self,
        text: str,
        snapshot: Path,
        folders: Sequence[Path],
        *,
        limits: Limits | None = None,
        words_of: WordsOf | None = None,
        closed: Sequence[str] = (),
        started: Callable[[Query], None] | None = None,
    ) -> None:
        self._limits, self._words_of = limits or Limits(), words_of
        self._words_left = self._limits.content_bytes
        self._deadline = time.monotonic() + self._limits.seconds + _GRACE_SECONDS
        self.truncated = False
        self._process = _start()
        try:
            if started is not None:
                started(self)
            self._ask(text, snapshot, folders, closed)
            self.schema = query_frames.decode(self._next(b"S")).schema
        except BaseException:
            self.close()
            raise

    def batches(self) -> Iterator[pa.RecordBatch]:
        while (payload := self._next(b"B")) is not None:
            yield from _valid(payload).to_batches()

    def table(self) -> pa.Table:
        return pa.Table.from_batches(self.batches(), self.schema)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def cancel(self) -> None:
        """End the query now; its reader gets QueryFailed. From any thread."""
        self._process.kill()

    def _ask(self, text: str, snapshot: Path, folders: Sequence[Path], closed: Sequence[str]) -> None:
        question = asdict(self._limits) | {
            "text": text,
            "snapshot": str(snapshot.resolve()),
            "folders": [str(folder.resolve()) for folder in folders],
            "content": self._words_of is not None,
            "closed": list(closed),
        }
        self._write(b"Q", json.dumps(question).encode())

    def _next(self, wanted: bytes) -> Any:
        """The payload of the next frame of this kind; None at the end of the rows."""
        assert self._process.stdout
        limit = self._limits.result_bytes + (64 << 20)
        while True:
            try:
                letter, payload = query_frames.read(self._process.stdout.fileno(), limit, self._deadline)
            except query_frames.Closed:
                raise QueryFailed("the query needed more memory or processor time than it may have") from None
            except query_frames.TooLate:
                raise self._too_slow() from None
            if letter == wanted:
                return payload
            if letter == b"R":
                self._write(b"C", query_frames.encode(self._words(query_frames.decode(payload))))
            elif letter == b"D":
                self.truncated = bool(json.loads(payload)["truncated"])
                return None
            else:
                raise self._failure(json.loads(payload))

    def _words(self, places: pa.Table) -> pa.Table:
        if self._words_of is None:
            raise QueryFailed("the query asked for content that its caller may not read")
        words = self._words_of(places)
        self._words_left -= words.nbytes
        if self._words_left < 0:
            read = self._limits.content_bytes >> 20
            raise QueryFailed(f"the query read more than {read} MiB of content: narrow it, for example by date or role")
        return pa.table([words.cast(pa.string())], names=["content"])

    def _write(self, letter: bytes, payload: bytes) -> None:
        assert self._process.stdin
        try:
            query_frames.write(self._process.stdin.fileno(), letter, payload)
        except BrokenPipeError:
            raise QueryFailed("the query needed more memory or processor time than it may have") from None

    def _failure(self, answer: dict[str, str]) -> QueryError:
        if answer["kind"] == "late":
            return self._too_slow()
        return (QueryRefused if answer["kind"] == "refused" else QueryFailed)(answer["message"])

    def _too_slow(self) -> QueryError:
        return QueryTooSlow(f"the query was stopped after {self._limits.seconds} s: narrow it, or ask for more time")

    def __enter__(self) -> Query:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _valid(payload: bytes) -> pa.Table:
    """The rows of a frame, looked through: they come from a process that ran somebody's text. Raises QueryFailed."""
    try:
        return query_frames.decode(payload)
    except pa.ArrowInvalid as error:
        raise QueryFailed(f"{error}; where a number has more than 38 digits, cast it to DOUBLE") from error


def _start() -> subprocess.Popen[bytes]:
    """A process with nothing of ours: no environment, no open files, no working folder."""
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "spanfold.query_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        close_fds=True,
        cwd=os.sep,
        env={"LC_ALL": "C.UTF-8", "TZ": "UTC", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
