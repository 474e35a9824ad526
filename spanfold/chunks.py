"""The journal in chunks for the fold process, with a mark of what is being tried.

A chunk that a process ended on is tried once more: mostly somebody killed the process. A record that ends processes is
searched: what two ended on is read in sixteenths, the sixteenth that ends the next one again so, down to one record,
which is set aside when it ends four processes on its own. Parts that fold are behind us, so a process that is ended by
somebody else costs a few smaller chunks and nothing more. Who kills often blames a record only by hitting it four
times; a process that doubts a record has therefore folded something else before, so that it works on it for
milliseconds and not for a second.

Behind a full chunk the next one is read, deciphered and decoded in another thread while the full one is folded; the
first of a backlog, for which everybody waits, is a small one. Nothing of what is read ahead is marked as tried by then:
after a process ended nothing is read ahead of the chunk that it worked on, so that the end of the next process says
which of the two it was.

Bodies of trace requests are decoded from one buffer, and stay in no record: a chunk is the largest thing that the
process holds, and it holds two. Who has to know a body reads the chunk `again`.
"""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from spanfold.collector import decode
from spanfold.collector.dead_letters import DeadLetters
from spanfold.collector.journal_reader import ITEMS_AT_ONCE, JournalReader
from spanfold.collector.pipeline import Entry
from spanfold.collector.segments import Position
from spanfold.exporter.keys import Keyring
from spanfold.semconv.records import SpanBatch

_FIRST = 4  # the first chunk of a backlog is a quarter of a whole one
_PARTS, _GIVE_UP = 16, 4  # parts of a chunk that ended a process; tries of a record alone before it is set aside
_NOWHERE = Position(0, 0)


@dataclass(slots=True)
class Chunk:
    """Records of the journal, and where they end."""

    entries: list[Entry]
    after: Position
    bytes: int  # of all bodies
    room: int  # bytes that there was to be filled: where more than half is, there is probably another chunk
    decoded: SpanBatch | None = None
    doubted: bool = False  # a process ended on it, or around it: to be durable before anything else is tried

    def spans(self) -> SpanBatch:
        """Those of its trace requests; held by who asks and nobody else. Raises ValueError for what is no request."""
        decoded, self.decoded = self.decoded, None
        if decoded is None:
            decoded = decode.decode_spans([record for _, record in self.entries if record.signal == "traces"])
        return decoded


@dataclass(frozen=True, slots=True)
class _Doubt:
    """What earlier processes say of a position."""

    limit: int  # bytes to read at once
    tries: int = 0  # processes that ended on a whole chunk
    until: Position = _NOWHERE  # end of the smallest chunk that ended a process
    alone: int = 0  # processes that ended on the first record alone


class Chunks:
    """Reads DATA/journal `size` bytes at a time; tries are counted in DATA/run/folding.json."""

    def __init__(self, data: Path, keyring: Keyring, dead: DeadLetters, size: int) -> None:
        self._journal = JournalReader(data / "journal", keyring)
        self._dead = dead
        self._size = size
        self._marker = data / "run" / "folding.json"
        self._reading = ThreadPoolExecutor(1)
        self._bodies = decode.JoinedBodies(size)
        self._ahead: tuple[Position, Future[Chunk]] | None = None

    def next(self, position: Position) -> Chunk:
        """What stands there. Notes that it is being tried; what has ended too many processes is set aside instead."""
        doubt = self._doubt(position)
        ahead, self._ahead = self._ahead, None
        doubted = doubt != _Doubt(self._size)
        begun_ahead = ahead[1] if ahead is not None and ahead[0] == position else None
        if begun_ahead is not None:
            chunk = begun_ahead.result()
        else:
            chunk = self._read(position, doubt.limit) if doubted else self._taken(position, self._size // _FIRST)
        entries, after = chunk.entries, chunk.after
        if not entries:
            self._bodies.give_back()
            return chunk
        if doubt.alone >= _GIVE_UP:
            for entry in entries:
                self._dead.put(*entry, f"the fold process ended {_GIVE_UP} times while it worked on this record alone")
            return Chunk([], after, 0, self._size)
        begun = {
            "position": position, "after": after, "until": max(doubt.until, after), "limit": doubt.limit,
            "tries": doubt.tries, "records": len(entries), "bytes": chunk.bytes,
            "alone": doubt.alone,
        }  # fmt: skip
        self._marker.write_text(json.dumps(begun))
        chunk.doubted = doubted
        if begun_ahead is None and not doubted:
            self._decode(chunk, position)
        if self.is_full(chunk) and not doubted:
            self._ahead = (after, self._reading.submit(self._read_ahead, after))
        else:
            self._bodies.give_back()
        return chunk

    def searches(self, position: Position) -> bool:
        """Is a chunk that ended a process still being read in parts?"""
        return self._doubt(position).limit < self._size

    def doubts(self, position: Position) -> bool:
        """Has a process ended on the record there alone?"""
        return self._doubt(position).alone > 0

    def read(self, position: Position) -> Chunk:
        """One chunk, without a mark."""
        return self._read(position, self._size)

    def again(self, chunk: Chunk, position: Position) -> list[Entry]:
        """The entries of a chunk that was read there, with all bodies."""
        if self._ahead is not None:
            wait([self._ahead[1]])  # the journal has one reader
        return self._whole(chunk, position)

    def is_full(self, chunk: Chunk) -> bool:
        """Is there probably more to fold at once?"""
        items = sum(record.items for _, record in chunk.entries)
        return chunk.bytes > chunk.room // 2 or items > ITEMS_AT_ONCE // 2

    def close(self) -> None:
        self._reading.shutdown()
        self._journal.close()

    def _read(self, position: Position, limit: int) -> Chunk:
        entries, after = self._journal.read(position, limit)
        return Chunk(entries, after, sum(len(record.body) for _, record in entries), self._size)

    def _read_ahead(self, position: Position) -> Chunk:
        chunk = self._taken(position, self._size)
        self._decode(chunk, position)
        return chunk

    def _taken(self, position: Position, limit: int) -> Chunk:
        """The chunk there, the bodies of its trace requests in the buffer."""
        self._bodies.clear()
        entries, after = self._journal.read(position, limit, self._bodies)
        return Chunk(entries, after, len(self._bodies) + sum(len(record.body) for _, record in entries), limit)

    def _decode(self, chunk: Chunk, position: Position) -> None:
        """What the buffer holds of it; its records get their bodies back if that is no request."""
        traces = [record for _, record in chunk.entries if record.signal == "traces"]
        try:
            chunk.decoded = decode.decode_spans(traces, self._bodies)
        except Exception:  # who folds it finds out which record it is
            chunk.entries = self._whole(chunk, position)

    def _whole(self, chunk: Chunk, position: Position) -> list[Entry]:
        return [entry for entry in self.read(position).entries if entry[0] < chunk.after]

    def _doubt(self, position: Position) -> _Doubt:
        try:
            held = json.loads(self._marker.read_text())
            begun, after, until = (Position(*held[name]) for name in ("position", "after", "until"))
            limit, tries, records, size, alone = (
                int(held[name]) for name in ("limit", "tries", "records", "bytes", "alone")
            )
        except (FileNotFoundError, ValueError, KeyError):
            return _Doubt(self._size)
        if begun != position:
            return _Doubt(limit, until=until) if begun < position < until else _Doubt(self._size)
        if records == 1:  # here and below: a process ended before this was committed
            return _Doubt(1, until=after, alone=alone + 1)
        if limit >= self._size and tries == 0:
            return _Doubt(limit, tries=1)
        return _Doubt(max(1, size // _PARTS), until=after)
