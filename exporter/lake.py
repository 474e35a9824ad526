"""The lake: immutable Parquet files and the commit that makes them count.

Commit order (trust.md 1.3): write each file beside its final name, fsync, rename, fsync the directories, then the
manifest the same way. Neither pyarrow nor DuckDB calls fsync, so this module does, and it reads each synced file back:
a checksum that the disk does not give again is never committed. A crash before the manifest leaves orphans that the
next start removes; after it, the commit is whole. One writer per data directory, held by flock.

A file that is missing or damaged stops counting (`quarantine`): it is moved aside with a note, and the rest goes on.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import math
import os
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from spanfold.exporter.durable import sync_dirs
from spanfold.exporter.errors import ExporterError, FileDamaged, LakeLocked, ManifestDamaged
from spanfold.exporter.manifest import FileEntry, Manifest, find_current, manifest_dir, write_current
from spanfold.exporter.quarantine import set_aside
from spanfold.semconv.schema import SCHEMA_VERSION, TABLES

EPOCH_DAY = dt.date(1970, 1, 1)  # where spans go whose own start time is not believable
_FILES_AT_ONCE = 3  # written and synced; with more, threads wait for each other more than for the disk
GRACE_SECONDS = 900  # how long replaced files stay for readers of older manifests
KEEP_MANIFESTS = 20
SUMS_DUE = "due"  # in place of the prices' name: the rollups have to be computed again
_SUMMED = {"spans", "suppressed", "rollup"}  # tables without one of whose files the rollups are wrong

# High-cardinality columns gain nothing from a dictionary and pay for building one.
_NO_DICTIONARY = {
    "trace_id", "span_id", "parent_span_id", "start_time", "start_nanos", "duration_ns", "response_id", "tool_call_id",
    "message_id", "content_id", "parent_id", "match_id", "path", "anchors", "head", "answer_key", "answer_gram", "ct",
    "block_id", "ids_hash", "private_block", "offset", "private_offset", "log_id", "point_id", "ttft_ms",
}  # fmt: skip


# Readers skip row groups by these; the statistics of the others only make footers long.
_STATISTICS = {
    "tenant", "trace_id", "start_time", "time", "hour", "service_name", "operation", "provider", "request_model",
    "response_model", "status", "is_candidate", "session_id", "conversation_id", "key_label", "thread_id", "message_id",
    "depth", "name", "revision",
}  # fmt: skip


# Rows read together: of content one block is wanted at a time, of messages one thread.
_ROW_GROUPS = {"content": 64, "messages": 16_384, "contexts": 16_384}


def partition_day(time: dt.datetime | None) -> dt.date:
    """The UTC day of a span's own start when it lies in 2015..2100, else 1970-01-01 (design, data directory)."""
    return time.date() if time is not None and 2015 <= time.year <= 2100 else EPOCH_DAY


class Lake:
    """The writer's side. Files are added by `write`, and count from `commit` on."""

    def __init__(self, data: Path) -> None:
        self.data = data
        (data / "lake").mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(data)
        try:
            found = find_current(data)
            self.manifest = found.manifest
            self._refuse_lost_manifests()
        except ExporterError:
            self._lock.close()
            raise
        for path in found.damaged:
            set_aside(data, path, "the manifest is damaged; the one before it stands in for it")
        self.generation = self.manifest.generation  # what is written from now on is of it; raised by who rewrites
        self._replay_from = self.manifest.pending
        self._sequence = 0
        self._grace_seconds: float = GRACE_SECONDS
        self._touched: set[Path] = {data}
        self._unsynced: dict[Path, str] = {}  # file -> its checksum
        self._removed_at: dict[str, float] = {}  # monotonic: a clock that jumps takes no file from a reader
        self.lost: set[str] = set()  # tables that files were set aside of, for the owner to make good and to clear
        self._pool = ThreadPoolExecutor(_FILES_AT_ONCE)
        self._remove_orphans()
        self.quarantine(self.of_wrong_size())

    def close(self) -> None:
        self._pool.shutdown()
        self._lock.close()

    def write(self, table: str, day: dt.date, rows: pa.Table, *, level: int = 0) -> FileEntry:
        """Writes one file that no reader sees yet and that `commit` makes durable."""
        return self.write_many([(table, day, rows)], level=level)[0]

    def write_many(self, parts: Sequence[tuple[str, dt.date, pa.Table]], *, level: int = 0) -> list[FileEntry]:
        """The same for several files at once."""
        targets = [self._target(table, day) for table, day, _ in parts]
        written = list(
            self._pool.map(
                lambda part, target: _write_parquet(target.with_suffix(".tmp"), part[0], part[2], level), parts, targets
            )
        )
        self._unsynced |= {target: checksum for target, (_, checksum) in zip(targets, written, strict=True)}
        return [
            FileEntry(
                table=table, date=day.isoformat(), path=str(target.relative_to(self.data)), rows=rows.num_rows,
                bytes=size, checksum=checksum, level=level, created=self.manifest.version + 1,
            )
            for (table, day, rows), target, (size, checksum) in zip(parts, targets, written, strict=True)
        ]  # fmt: skip

    def prepare(self, table: str, day: dt.date, rows: pa.Table, *, level: int) -> FileEntry:
        """Writes a file beside its name, from any thread; `adopt` makes it part of the next commit."""
        path = f"lake/{table}/gen={self.generation}/date={day.isoformat()}/m{uuid.uuid4().hex}.parquet"
        target = self.data / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        size, checksum = _write_parquet(target.with_suffix(".tmp"), table, rows, level)
        return FileEntry(
            table=table, date=day.isoformat(), path=path, rows=rows.num_rows, bytes=size, checksum=checksum,
            level=level, created=0,
        )  # fmt: skip

    def adopt(self, entry: FileEntry) -> FileEntry:
        """Takes a prepared file into the next commit."""
        target = self.data / entry.path
        self._unsynced[target] = entry.checksum
        self._touched |= {target.parent, target.parent.parent, target.parent.parent.parent}
        return replace(entry, created=self.manifest.version + 1)

    def _target(self, table: str, day: dt.date) -> Path:
        self._sequence += 1
        name = f"{self.manifest.version + 1:08d}-{self._sequence:04d}.parquet"
        directory = self.data / "lake" / table / f"gen={self.generation}" / f"date={day.isoformat()}"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._touched |= {directory, directory.parent, directory.parent.parent}
        return directory / name

    def commit(
        self,
        added: Iterable[FileEntry],
        *,
        removed: Iterable[str] = (),
        journal: tuple[int, int] | None = None,
        pending: tuple[int, int] | None = None,
        runs: Mapping[str, tuple[str, ...]] | None = None,
        counters: Mapping[str, int] | None = None,
        priced_by: str | None = None,
    ) -> Manifest:
        """Makes the added files count and the removed ones not, in one step. `counters` are added to the totals;
        `priced_by` names the prices that the rollups then hold."""
        self._make_durable()
        now, gone = time.time_ns(), set(removed)
        self._removed_at |= dict.fromkeys(gone, time.monotonic())
        totals = dict(self.manifest.counters)
        for key, value in (counters or {}).items():
            totals[key] = totals.get(key, 0) + value
        manifest = replace(
            self.manifest,
            version=self.manifest.version + 1,
            generation=self.generation,
            created_ns=now,
            journal=journal or self.manifest.journal,
            pending=pending or journal or self.manifest.pending,
            files=(*(f for f in self.manifest.files if f.path not in gone), *added),
            removed=(*self._still_held(now), *((path, now) for path in gone)),
            runs=runs if runs is not None else self.manifest.runs,
            counters=totals,
            priced_by=self.manifest.priced_by if priced_by is None else priced_by,
        )
        write_current(self.data, manifest)
        self._replay_from = min(self.manifest.pending, manifest.pending)
        self.manifest, self._sequence = manifest, 0
        self._forget_old()
        return manifest

    @property
    def replay_from(self) -> tuple[int, int]:
        """Journal position from which the manifest before the newest would fold again, if it had to stand in."""
        return self._replay_from

    def of_wrong_size(self) -> list[str]:
        """Paths of files that are missing or have another size than the manifest states: no file is read."""
        wrong = []
        for file in self.manifest.files:
            try:
                if (self.data / file.path).stat().st_size != file.bytes:
                    wrong.append(file.path)
            except FileNotFoundError:
                wrong.append(file.path)
        return wrong

    def quarantine(self, paths: Iterable[str]) -> bool:
        """Takes those of these files that are damaged out of the manifest and moves them aside. Were there any?"""
        named = {file.path: file for file in self.manifest.files}
        asked = [path for path in paths if path in named]
        problems = {path: problem for path in asked if (problem := problem_of(self.data, named[path]))}
        if problems:
            tables = {named[path].table for path in problems}
            self.lost |= tables
            due = SUMS_DUE if tables & _SUMMED else None
            self.commit([], removed=problems, counters={"quarantined_files": len(problems)}, priced_by=due)
        for path, problem in problems.items():
            set_aside(self.data, self.data / path, problem, rows=named[path].rows)
        return bool(problems)

    def _make_durable(self) -> None:
        """Syncs the written files (together: the disk takes many at once) and reads them back, renames them, syncs
        their directories."""
        files = [(target.with_suffix(".tmp"), checksum) for target, checksum in self._unsynced.items()]
        for _ in self._pool.map(lambda file: _sync_file(*file), files):
            pass
        for target in self._unsynced:
            target.with_suffix(".tmp").rename(target)
        for _ in self._pool.map(lambda directory: sync_dirs([directory]), [*self._touched, self.data / "lake"]):
            pass
        self._unsynced, self._touched = {}, set()

    def forget_removed(self) -> int:
        """Deletes removed files at once, readers of older manifests or not. Gives how many."""
        count = len(self.manifest.removed)
        self._grace_seconds = -math.inf  # whatever the clocks say
        try:
            self.commit([])
        finally:
            self._grace_seconds = GRACE_SECONDS
        return count

    def _still_held(self, now: int) -> list[tuple[str, int]]:
        """Removed files whose grace period goes on; the others are deleted (they count for no kept manifest)."""
        held = []
        for path, at in self.manifest.removed:
            if self._age(path, now - at) < self._grace_seconds:
                held.append((path, at))
            else:
                (self.data / path).unlink(missing_ok=True)
        return held

    def _age(self, path: str, by_clock_ns: int) -> float:
        """Seconds since a file was removed; by the clock on the wall only when an earlier process removed it."""
        at = self._removed_at.get(path)
        return by_clock_ns / 1e9 if at is None else time.monotonic() - at

    def _refuse_lost_manifests(self) -> None:
        """Files of a commit after the next one say that manifests are missing: nothing may be taken for an orphan."""
        if self.manifest.version:
            return
        for file in (self.data / "lake").rglob("*.parquet"):
            if not file.name.startswith(f"{1:08d}-"):
                raise ManifestDamaged(
                    f"{file.relative_to(self.data)} is of an earlier lake, but {manifest_dir(self.data)} has no "
                    "manifest: restore that directory from a backup, or move lake/ away"
                )

    def _forget_old(self) -> None:
        old = manifest_dir(self.data) / f"{self.manifest.version - KEEP_MANIFESTS}.json"
        old.unlink(missing_ok=True)

    def _remove_orphans(self) -> None:
        """Files of commits that never happened."""
        counted = {f.path for f in self.manifest.files} | {path for path, _ in self.manifest.removed}
        counted |= {path for paths in self.manifest.runs.values() for path in paths}
        for file in (self.data / "lake").rglob("*"):
            name = str(file.relative_to(self.data))
            if file.suffix in (".parquet", ".keys", ".tmp") and file.is_file() and name not in counted:
                file.unlink()


def problem_of(data: Path, entry: FileEntry) -> str | None:
    """What is wrong with a file that the manifest names; None if its bytes are those that were written."""
    try:
        raw = (data / entry.path).read_bytes()
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if len(raw) != entry.bytes:
        return f"it has {len(raw):,} bytes instead of {entry.bytes:,}"
    return None if xxhash.xxh3_128_hexdigest(raw) == entry.checksum else "its checksum is not the manifest's"


def read_table(data: Path, entry: FileEntry, columns: list[str] | None = None, *, verify: bool = True) -> pa.Table:
    """The rows of one file, its checksum verified first. Raises FileDamaged, which names it."""
    try:
        raw = (data / entry.path).read_bytes()
    except FileNotFoundError:
        raise FileDamaged(f"{entry.path} is missing: spanfold scrub says what else is", entry.path) from None
    if verify and xxhash.xxh3_128_hexdigest(raw) != entry.checksum:
        raise FileDamaged(
            f"{entry.path} does not have the checksum that the manifest states: spanfold scrub says what else is so",
            entry.path,
        )
    return pq.ParquetFile(pa.BufferReader(raw)).read(columns)


def read_rows(data: Path, entry: FileEntry, columns: list[str] | None = None) -> pa.Table:
    """The rows of one file in these columns of today (None = all); what the file lacks is NULL. Raises FileDamaged."""
    rows, schema = read_table(data, entry, columns), TABLES[entry.table]
    fields = list(schema) if columns is None else [schema.field(name) for name in columns]
    found = [
        rows[f.name].cast(f.type) if f.name in rows.column_names else pa.nulls(rows.num_rows, f.type) for f in fields
    ]
    return pa.Table.from_arrays(found, schema=pa.schema(fields))


def _write_parquet(target: Path, table: str, rows: pa.Table, level: int) -> tuple[int, str]:
    schema = TABLES[table].with_metadata({"spanfold.schema_version": str(SCHEMA_VERSION), "spanfold.table": table})
    buffer = pa.BufferOutputStream()
    plain = table == "content"
    pq.write_table(
        rows.cast(schema) if not rows.schema.equals(schema, check_metadata=True) else rows,
        buffer,
        # Until the file is merged: small ones take half the time of zstd 1, all up to twice the room. LZ4 is no smaller
        # and its Parquet form is unknown to older readers.
        compression="none" if plain else "snappy" if level == 0 else "zstd",
        compression_level=9 if level and not plain else None,
        use_dictionary=[] if plain else [name for name in schema.names if name not in _NO_DICTIONARY],
        write_statistics=[name for name in schema.names if name in _STATISTICS],
        row_group_size=_ROW_GROUPS.get(table, 65_536),
        data_page_version="1.0",
    )
    raw = buffer.getvalue()
    with open(target, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(raw)
    return raw.size, xxhash.xxh3_128_hexdigest(raw)


def _sync_file(path: Path, checksum: str) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        if xxhash.xxh3_128_hexdigest(file.read()) != checksum:
            raise FileDamaged(f"{path} was not written as it should be: nothing of this commit counts", str(path))


def _lock(data: Path):  # type: ignore[no-untyped-def]
    """The writer's lock. Raises LakeLocked naming the holder."""
    (data / "run").mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (data / "run" / "folder.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise LakeLocked(f"process {holder} already folds into {data}: stop it first") from None
    file.seek(0)
    file.truncate()
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
