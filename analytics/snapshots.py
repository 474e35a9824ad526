"""Opening published snapshots: one private hard link per version, a read-only instance, a cursor per use.

Measured rules (docs/sql.md): DuckDB caches instances by path and does not notice a replaced file, so every version is
opened under a name of its own that nobody else uses; one connection must not be shared by threads, cursors may; closing
an instance closes its cursors, so a superseded one is left to its last reference.
"""

from __future__ import annotations

import itertools
import os
import re
import threading
from pathlib import Path

import duckdb

from spanfold.analytics.errors import NoSnapshot

_NAME = re.compile(r"v(\d+)(?:-(\d+))?\.duckdb")
_numbers = itertools.count()


class Opened:
    """One opened version."""

    def __init__(self, version: str, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.version, self.path, self._connection = version, path, connection

    def cursor(self) -> duckdb.DuckDBPyConnection:
        return self._connection.cursor()


class Snapshots:
    """The newest snapshot of a data directory, opened at most once a version. Safe for threads."""

    def __init__(self, data: Path, *, threads: int = 2, memory: str = "2GB") -> None:
        self._directory = data / "snapshots"
        self._config: dict[str, str | int | float | list[str]] = {
            "threads": threads, "memory_limit": memory, "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }  # fmt: skip
        self._lock = threading.Lock()
        self._opened: Opened | None = None

    def newest_version(self) -> str:
        """The name of the newest version, such as `v12`. Raises NoSnapshot."""
        return self._newest().removesuffix(".duckdb")

    def newest(self) -> Opened:
        """The newest version, opened. Raises NoSnapshot."""
        name = self._newest()
        with self._lock:
            if self._opened is None or self._opened.version != name.removesuffix(".duckdb"):
                self._opened = self._open(name)
            return self._opened

    def _newest(self) -> str:
        names = published(self._directory)
        if not names:
            raise NoSnapshot(NoSnapshot.__doc__)
        return max(names, key=lambda item: item[1])[0]

    def _open(self, name: str) -> Opened:
        for _ in range(5):  # the version may be dropped between the listing and the link
            private = self._directory / f".open-{os.getpid()}-{next(_numbers)}-{name}"
            try:
                os.link(self._directory / name, private)
            except FileNotFoundError:
                name = self._newest()
                continue
            try:
                connection = duckdb.connect(str(private), read_only=True, config=self._config)
                connection.execute("SET GLOBAL TimeZone = 'UTC'; SET GLOBAL parquet_metadata_cache = true")
            finally:
                private.unlink()
            return Opened(name.removesuffix(".duckdb"), self._directory / name, connection)
        raise NoSnapshot(NoSnapshot.__doc__)


def published(directory: Path) -> list[tuple[str, tuple[int, int]]]:
    """(file name, (manifest version, times published again)) of every snapshot."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    matches = (_NAME.fullmatch(name) for name in names)
    return [(m[0], (int(m[1]), int(m[2] or 0))) for m in matches if m]
