"""Looks after what is stored while the folding goes on: missing and damaged files are found, set aside and named.

Every ten seconds all files are looked at by size, and some are read and compared with their checksums, so that after a
while each was (64 MiB a look: 23 GB an hour). What is wrong stops counting and is moved to `quarantine/`: DuckDB gives
wrong numbers for a flipped byte, and one missing file would fail every query of its table. Keys and tokens over
their time are closed at each look, too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from spanfold.exporter.identity import problem_of_run
from spanfold.exporter.identity_rebuild import KINDS
from spanfold.exporter.lake import problem_of
from spanfold.exporter.manifest import Manifest
from spanfold.exporter.quarantine import set_aside

if TYPE_CHECKING:
    from spanfold.folding import Folding

LOOK_SECONDS = 10.0
BYTES_PER_LOOK = 64 << 20


class Care:
    """One per fold process, on its thread; files are read on another one."""

    def __init__(self, folding: Folding, data: Path) -> None:
        self._folding, self._data = folding, data
        self._looked = 0.0
        self._reader = ThreadPoolExecutor(1)
        self._reading: Future[list[str]] | None = None
        self._last = ""  # path of the file that was read last
        self._snapshot: tuple[str, str] | None = None  # name and checksum of what was published

    def begin(self, doubtful: Sequence[str] = ()) -> None:
        """Makes good what the opening of the lake has set aside, and what is damaged of `doubtful`, before anything is
        published."""
        self._set_aside(doubtful)

    def look(self) -> None:
        """One look, if it is time; what a look before has found is set aside."""
        if (request := self._folding.requests.get("quarantine")) is not None:
            self._set_aside(request["paths"])
            self._folding.answer("quarantine", request)
        if self._folding.lake.lost:
            self._folding.quarantine()
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        self._folding.close_expired()
        manifest = self._folding.lake.manifest
        found = self._folding.lake.of_wrong_size()
        if self._reading is not None and self._reading.done():
            found += self._reading.result()
            self._reading = None
        if found:
            self._set_aside(found)
        if self._reading is None:
            self._reading = self._reader.submit(self._read_some, manifest)
        self._watch_snapshot()

    def close(self) -> None:
        self._reader.shutdown(cancel_futures=True)

    def _set_aside(self, paths: Sequence[str]) -> None:
        lake = self._folding.lake
        self._folding.quarantine(paths)
        torn = [
            kind
            for kind in KINDS
            if any(problem_of_run(self._data / path) for path in lake.manifest.runs.get(kind, ()) if path in paths)
        ]
        if torn:
            self._folding.renew_runs(torn)

    def _read_some(self, manifest: Manifest) -> list[str]:
        """Reads the next files in turn; gives the paths of the damaged ones."""
        runs = {path for paths in manifest.runs.values() for path in paths}
        entries = {file.path: file for file in manifest.files}
        todo = sorted(entries.keys() | runs)
        todo = [path for path in todo if path > self._last] or todo
        wrong, read = [], 0
        for path in todo:
            self._last = path
            problem = problem_of(self._data, entries[path]) if path in entries else problem_of_run(self._data / path)
            if problem:
                wrong.append(path)
            else:
                read += (self._data / path).stat().st_size
            if read > BYTES_PER_LOOK:
                break
        return wrong

    def _watch_snapshot(self) -> None:
        """Publishes again what was changed by someone else or is gone."""
        name = self._folding.published_as
        if name is None:
            return
        checksum = _checksum(self._data / "spanfold.duckdb")
        if self._snapshot is None or self._snapshot[0] != name:
            self._snapshot = (name, checksum)
        elif checksum != self._snapshot[1]:
            damaged = self._data / "snapshots" / name
            self._folding.publish(again=True)
            set_aside(self._data, damaged, "it is not what was published")
            self._snapshot = None


def _checksum(path: Path) -> str:
    try:
        return xxhash.xxh3_128_hexdigest(path.read_bytes())
    except FileNotFoundError:
        return ""
