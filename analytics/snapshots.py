"""Opening published snapshots: one private hard link per version, a read-only instance, a cursor per use.

Measured rules (docs/sql.md): DuckDB caches instances by path and does not notice a replaced file, so every version is
opened under a name of its own that nobody else uses; one connection must not be shared by threads, cursors may; closing
an instance closes its cursors, so a superseded one is left to its last reference.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from spanfold.analytics import tenancy
from spanfold.analytics.errors import DatabaseFailed, NoSnapshot
from spanfold.analytics.failing import failure_told

Tenants = frozenset[str] | None  # None = all

_NAME = re.compile(r"v(\d+)(?:-(\d+))?\.duckdb")
_PRIVATE = re.compile(r"(?:\.open|cut|base|template)-(\d+)\D.*")  # of the process with this number
_numbers = itertools.count()
SCOPES = 16  # sets of tenants whose cut-down snapshots are kept open
_MOST_SPILLED = "4GB"  # what queries of one instance put on the disk beyond its memory


class Opened:
    """One opened version."""

    def __init__(self, version: str, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.version, self.path, self._connection = version, path, connection
        self.failed = False  # an error from within DuckDB has closed it for everybody

    def cursor(self) -> duckdb.DuckDBPyConnection:
        return self._connection.cursor()

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor for one use. Raises FileUnreadable, and DatabaseFailed; who asks for the newest version then gets it
        opened anew."""
        try:
            with failure_told():
                yield self._connection.cursor()
        except DatabaseFailed:
            self.failed = True
            raise


class Snapshots:
    """The newest snapshot of a data directory, opened at most once a version. Safe for threads."""

    def __init__(self, data: Path, *, threads: int = 2, memory: str = "2GB") -> None:
        self._directory, self._spill = data / "snapshots", data / "run" / "spill"
        self._config: dict[str, str | int | float | list[str]] = {
            "threads": threads, "memory_limit": memory, "autoinstall_known_extensions": False,
            "autoload_known_extensions": False, "max_temp_directory_size": _MOST_SPILLED,
        }  # fmt: skip
        self._lock = threading.Lock()
        self._opened: OrderedDict[Tenants, Opened] = OrderedDict()
        sweep(self._directory)
        _sweep_spill(self._spill)

    def newest_version(self) -> str:
        """The name of the newest version, such as `v12`. Raises NoSnapshot."""
        return self._newest().removesuffix(".duckdb")

    def newest(self, tenants: Tenants = None) -> Opened:
        """The newest version, opened; with `tenants` a copy that holds these only. Raises NoSnapshot."""
        name = self._newest()
        with self._lock:
            opened = self._opened.get(tenants)
            if opened is None or opened.failed or opened.version != name.removesuffix(".duckdb"):
                opened = self._opened[tenants] = self._open(name) if tenants is None else self._cut(name, tenants)
            self._opened.move_to_end(tenants)
            while len(self._opened) > SCOPES:
                self._opened.popitem(last=False)
            return opened

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
            return Opened(name.removesuffix(".duckdb"), self._directory / name, self._connect(private))
        raise NoSnapshot(NoSnapshot.__doc__)

    def _connect(self, private: Path) -> duckdb.DuckDBPyConnection:
        """Open a file under a name that nobody else uses, and take the name away."""
        spill = {
            "temp_directory": str(self._spill / f"{os.getpid()}-{next(_numbers)}")
        }  # made by the first that spills
        try:
            self._spill.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = duckdb.connect(str(private), read_only=True, config=self._config | spill)
            connection.execute("SET GLOBAL TimeZone = 'UTC'; SET GLOBAL parquet_metadata_cache = true")
        finally:
            private.unlink()
        return connection

    def _cut(self, name: str, tenants: frozenset[str]) -> Opened:
        """A copy of these tenants only; its file goes when nobody uses it any more."""
        for _ in range(5):
            cut = self._directory / f"cut-{os.getpid()}-{next(_numbers)}-{name}"
            try:
                tenancy.cut_down(self._directory / name, cut, tenants)
            except FileNotFoundError:
                name = self._newest()
                continue
            private = cut.with_name(f".open-{cut.name}")
            os.link(cut, private)
            opened = Opened(name.removesuffix(".duckdb"), cut, self._connect(private))
            weakref.finalize(opened, cut.unlink, missing_ok=True)
            return opened
        raise NoSnapshot(NoSnapshot.__doc__)


def published(directory: Path) -> list[tuple[str, tuple[int, int]]]:
    """(file name, (manifest version, times published again)) of every snapshot."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    matches = (_NAME.fullmatch(name) for name in names)
    return [(m[0], (int(m[1]), int(m[2] or 0))) for m in matches if m]


def sweep(directory: Path) -> None:
    """Take away what processes that are gone had made for themselves."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):
            match = _PRIVATE.fullmatch(name)
            if match and not _alive(int(match[1])):
                (directory / name).unlink(missing_ok=True)


def _sweep_spill(directory: Path) -> None:
    """Take away what queries of processes that are gone had put on the disk."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):
            number = name.partition("-")[0]
            if number.isdigit() and not _alive(int(number)):
                shutil.rmtree(directory / name, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
