"""The process that runs a user's SQL, and nothing else: no key, no state, no writing, no network, bounded in all.

It is given one snapshot and one text on its standard input. It takes its own rights away (`query_sandbox`), opens the
snapshot with the settings of `_fence` in an order that matters, judges the text (`query_gate`) and streams the rows
back. If its caller may read content, `messages.content` asks the caller for the words of just the rows that the query
needs, batch by batch: the caller holds the key, this process never does.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from spanfold import query_frames, query_sandbox
from spanfold.analytics import query_gate
from spanfold.analytics.errors import DatabaseFailed, FileUnreadable, QueryRefused
from spanfold.analytics.failing import GAVE_UP, batches

PLACE = ("date", "tenant", "message_id", "content_id")  # what the caller needs to find a message's words
BATCH_ROWS = 2048
_LIBRARY_BYTES = 3 << 30  # address space of the interpreter and its libraries beside DuckDB's own memory
_FRAME_LIMIT = 1 << 31


class _Caller:
    """The other end of the pipes, for several DuckDB threads at once."""

    def __init__(self, inward: int, outward: int) -> None:
        self._inward, self._outward = inward, outward
        self._writing, self._asking = threading.Lock(), threading.Lock()

    def question(self) -> dict[str, Any]:
        question: dict[str, Any] = json.loads(query_frames.read(self._inward, _FRAME_LIMIT)[1])
        return question

    def say(self, letter: bytes, payload: bytes) -> None:
        with self._writing:
            query_frames.write(self._outward, letter, payload)

    def words(self, date: pa.Array, tenant: pa.Array, message_id: pa.Array, content_id: pa.Array) -> pa.Array:
        """A vectorised DuckDB function: the content of each place, NULL where it is not kept."""
        places = (date, tenant, message_id, content_id)
        columns = [p.combine_chunks() if isinstance(p, pa.ChunkedArray) else p for p in places]
        with self._asking:
            self.say(b"R", query_frames.encode(pa.record_batch(columns, names=list(PLACE))))
            return query_frames.decode(query_frames.read(self._inward, _FRAME_LIMIT)[1]).column(0).combine_chunks()


def main() -> None:
    """Answer one question and end."""
    outward = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a stray print must not become part of an answer
    caller = _Caller(0, outward)
    question = caller.question()
    try:
        _answer(caller, question)
    except Exception as error:
        kinds = {QueryRefused: "refused", duckdb.InterruptException: "late"}
        kind = next((name for known, name in kinds.items() if isinstance(error, known)), "failed")
        message = str(error) if isinstance(error, QueryRefused | duckdb.Error) else type(error).__name__
        if isinstance(error, GAVE_UP):
            message = str(DatabaseFailed())
        if isinstance(error, duckdb.IOException):
            message = str(FileUnreadable())
        if isinstance(error, duckdb.OutOfMemoryException):
            message = message.splitlines()[0]  # the rest is advice for who runs the database
        if isinstance(error, MemoryError):
            message = "the rows are too large for the memory of a query: ask for fewer columns"
        caller.say(b"E", json.dumps({"kind": kind, "message": _without_paths(message, question)}).encode())
    os._exit(0)  # nothing to tidy up: DuckDB's threads and functions end with the process


def _answer(caller: _Caller, question: dict[str, Any]) -> None:
    _warm_up()
    snapshot, folders = question["snapshot"], question["folders"]
    query_sandbox.limit(question["memory_bytes"] + _LIBRARY_BYTES, question["seconds"] * question["threads"] + 10)
    query_sandbox.confine([Path(snapshot), *map(Path, folders)])
    connection = duckdb.connect(snapshot, read_only=True, config={"threads": question["threads"]})
    if question["content"]:
        _open_content(connection, caller)
    _fence(connection, folders, question["memory_bytes"])
    query_gate.check(connection, question["text"], closed=question["closed"])
    timer = threading.Timer(question["seconds"], connection.interrupt)
    timer.daemon = True
    timer.start()
    _stream(caller, connection, question)
    timer.cancel()


def _stream(caller: _Caller, connection: duckdb.DuckDBPyConnection, question: dict[str, Any]) -> None:
    rows_left, bytes_left, truncated = question["rows"], question["result_bytes"], False
    reader = _reader(connection, question["text"], BATCH_ROWS)
    caller.say(b"S", query_frames.encode_schema(reader.schema))
    for batch in batches(reader):
        truncated = batch.num_rows > rows_left or batch.nbytes > bytes_left
        if batch.nbytes > bytes_left:
            break
        kept = batch.slice(0, rows_left)
        caller.say(b"B", query_frames.encode(kept))
        rows_left, bytes_left = rows_left - kept.num_rows, bytes_left - kept.nbytes
        if truncated:
            break
    caller.say(b"D", json.dumps({"truncated": truncated}).encode())


def _open_content(connection: duckdb.DuckDBPyConnection, caller: _Caller) -> None:
    """A temporary view over `messages` in front of the published one, with its words."""
    _register(connection, "spanfold_words", caller.words, len(PLACE))
    places = ", ".join(f"{name}::VARCHAR" for name in PLACE)
    database = connection.execute("SELECT current_database()").fetchall()[0][0].replace('"', '""')
    connection.execute(
        f"CREATE TEMP VIEW messages AS SELECT * REPLACE (spanfold_words({places})::JSON AS content) "
        f'FROM "{database}".main.messages'
    )


def _fence(connection: duckdb.DuckDBPyConnection, folders: list[str], memory_bytes: int) -> None:
    """The order matters: a spill folder cannot be set after external access is off, nothing can after the lock."""
    allowed = "[" + ", ".join("'" + folder.replace("'", "''") + "'" for folder in folders) + "]"
    for setting in (
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "allow_community_extensions = false",
        "python_enable_replacements = false",
        "temp_directory = ''",
        f"memory_limit = '{memory_bytes // 1024}KiB'",
        f"allowed_directories = {allowed}",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")


def _register(connection: Any, name: str, function: Callable[..., pa.Array], arguments: int) -> None:
    """A function on whole Arrow columns of text (typed Any: DuckDB's stubs do not know its string spellings)."""
    texts = ["VARCHAR"] * arguments
    connection.create_function(name, function, texts, "VARCHAR", type="arrow", null_handling="special")


def _warm_up() -> None:
    """Make DuckDB load what it loads on first use, while there is room: Arrow's bridge, time zones."""
    with duckdb.connect() as connection:
        _register(connection, "same", lambda text: text, 1)
        for _ in _reader(connection, "SELECT same('x'), now()::TIMESTAMPTZ, 1::DECIMAL, [1]", 1):
            pass


def _reader(connection: duckdb.DuckDBPyConnection, text: str, rows: int) -> pa.RecordBatchReader:
    relation: Any = connection.sql(text)
    return relation.to_arrow_reader(rows)


def _without_paths(message: str, question: dict[str, Any]) -> str:
    for path in sorted([question["snapshot"], *question["folders"]], key=len, reverse=True):
        message = message.replace(path, "…")
    return message


if __name__ == "__main__":
    main()
