"""The journal in chunks for the fold process, with a mark of what is being tried.

A record that ends the process is found by reading its chunk record by record, and is set aside when it ends the
process twice more on its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from spanfold.collector.dead_letters import DeadLetters
from spanfold.collector.journal_reader import JournalReader
from spanfold.collector.pipeline import Entry
from spanfold.collector.segments import Position
from spanfold.exporter.keys import Keyring

_CAREFUL, _GIVE_UP = 2, 4  # tries of a chunk before it is read record by record; before its record is set aside


class Chunks:
    """Reads DATA/journal `size` bytes at a time; tries are counted in DATA/run/folding.json."""

    def __init__(self, data: Path, keyring: Keyring, dead: DeadLetters, size: int) -> None:
        self._journal = JournalReader(data / "journal", keyring)
        self._dead = dead
        self._size = size
        self._marker = data / "run" / "folding.json"
        self._reading = ThreadPoolExecutor(1)
        self._ahead: tuple[Position, Future[tuple[list[Entry], Position]]] | None = None

    def next(self, position: Position) -> tuple[list[Entry], Position]:
        """(entries, position after them). A chunk that ended this process twice is read record by record up to its
        end; a record that ends it twice more on its own is set aside."""
        tries, until = self._tries(position)
        if tries >= _CAREFUL:
            entries, after = self._journal.read(position, 1)
        else:
            entries, after = self._read_ahead(position)
        if not entries:
            return [], after
        if tries >= _GIVE_UP:
            for entry in entries:
                self._dead.put(*entry, "the fold process ended twice while it worked on this record alone")
            return [], after
        begun = {"position": position, "until": until if tries >= _CAREFUL else after, "tries": tries + 1}
        self._marker.write_text(json.dumps(begun))
        return entries, after

    def read(self, position: Position) -> tuple[list[Entry], Position]:
        """One chunk, without a mark."""
        return self._journal.read(position, self._size)

    def is_full(self, entries: Sequence[Entry]) -> bool:
        """Is there probably more to fold at once?"""
        return sum(len(record.body) for _, record in entries) > self._size // 2

    def close(self) -> None:
        self._reading.shutdown()
        self._journal.close()

    def _read_ahead(self, position: Position) -> tuple[list[Entry], Position]:
        """The next chunk, and behind a full one already the chunk after it: reading takes another core."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == position:
            entries, after = ahead[1].result()
        else:
            entries, after = self.read(position)
        if self.is_full(entries):
            self._ahead = (after, self._reading.submit(self.read, after))
        return entries, after

    def _tries(self, position: Position) -> tuple[int, Position]:
        """How often a process has begun at this position and not finished, and how far its chunk went."""
        try:
            held = json.loads(self._marker.read_text())
            begun, until = Position(*held["position"]), Position(*held["until"])
        except (FileNotFoundError, ValueError, KeyError):
            return 0, Position(0, 0)
        if begun == position:
            return int(held["tries"]), until
        return (_CAREFUL if begun < position < until else 0), until
