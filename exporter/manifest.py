"""The manifest: which of the lake's files count. Readers see whole manifests only (rules 6 and 7 of the design).

`lake/manifest/<version>.json` is immutable; `lake/manifest/current` names the newest and is replaced atomically. Both
are fsynced with their directory before a commit returns. Paths are relative to the data directory.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from spanfold.exporter.errors import ManifestDamaged
from spanfold.semconv.schema import SCHEMA_VERSION

MANIFEST_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One immutable Parquet file."""

    table: str
    date: str  # YYYY-MM-DD
    path: str  # relative to the data directory
    rows: int
    bytes: int
    checksum: str  # xxh3_128 of the file's bytes, hex
    level: int  # compaction tier: 0 = as flushed
    created: int  # manifest version that added it


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One consistent state of the lake."""

    version: int
    generation: int = 0
    schema_version: int = SCHEMA_VERSION
    created_ns: int = 0
    journal: tuple[int, int] = (0, 0)  # everything before this (segment, offset) is folded
    pending: tuple[int, int] = (0, 0)  # log records from here on may still wait for their span
    files: tuple[FileEntry, ...] = ()
    runs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # kind -> files of `exporter/identity.py`
    removed: tuple[tuple[str, int], ...] = ()  # (path, removed at ns): kept on disk until the grace period is over
    counters: Mapping[str, int] = field(default_factory=dict)  # running totals: folded_spans, duplicates, ...
    priced_by: str = ""  # name of the price book that the rollup files hold the cost of

    def files_of(self, table: str, date: str | None = None) -> list[FileEntry]:
        return [f for f in self.files if f.table == table and (date is None or f.date == date)]

    def paths(self, table: str) -> list[str]:
        """Relative paths of the files of one table, oldest day first."""
        return [f.path for f in sorted(self.files_of(table), key=lambda f: (f.date, f.created, f.path))]

    def dates(self, table: str) -> list[str]:
        return sorted({f.date for f in self.files_of(table)})

    def to_json(self) -> bytes:
        body = {
            "format": MANIFEST_FORMAT, "version": self.version, "generation": self.generation,
            "schema_version": self.schema_version, "created_ns": self.created_ns, "journal": list(self.journal),
            "pending": list(self.pending), "runs": {kind: list(paths) for kind, paths in self.runs.items()},
            "counters": dict(self.counters), "priced_by": self.priced_by, "removed": [list(r) for r in self.removed],
            "files": [[f.table, f.date, f.path, f.rows, f.bytes, f.checksum, f.level, f.created] for f in self.files],
        }  # fmt: skip
        raw = orjson.dumps(body)
        return raw + b"\n" + f"{zlib.crc32(raw):08x}\n".encode()

    @staticmethod
    def from_json(raw: bytes, name: str) -> Manifest:
        """Raises ManifestDamaged if the checksum line does not fit or a later format wrote it."""
        text, _, check = raw.rstrip(b"\n").rpartition(b"\n")
        if not text or check != f"{zlib.crc32(text):08x}".encode():
            raise ManifestDamaged(f"manifest {name} is damaged: its checksum does not fit its text")
        body: dict[str, Any] = orjson.loads(text)
        if body["format"] > MANIFEST_FORMAT or body["schema_version"] > SCHEMA_VERSION:
            raise ManifestDamaged(
                f"manifest {name} has format {body['format']} and schema {body['schema_version']}; "
                f"this release reads up to {MANIFEST_FORMAT} and {SCHEMA_VERSION}: install the newer release"
            )
        names = ("table", "date", "path", "rows", "bytes", "checksum", "level", "created")
        return Manifest(
            version=body["version"], generation=body["generation"], schema_version=body["schema_version"],
            created_ns=body["created_ns"], journal=(body["journal"][0], body["journal"][1]), counters=body["counters"],
            pending=(body["pending"][0], body["pending"][1]),
            runs={kind: tuple(paths) for kind, paths in body["runs"].items()},
            removed=tuple((r[0], r[1]) for r in body["removed"]), priced_by=body.get("priced_by", ""),
            files=tuple(FileEntry(**dict(zip(names, f, strict=True))) for f in body["files"]),
        )  # fmt: skip


def manifest_dir(data: Path) -> Path:
    return data / "lake" / "manifest"


def read_current(data: Path) -> Manifest:
    """The newest manifest; an empty one of version 0 for a data directory without a lake."""
    pointer = manifest_dir(data) / "current"
    for _ in range(3):  # the pointer may move, and old versions go, between the two reads
        try:
            version = pointer.read_text().strip()
        except FileNotFoundError:
            return Manifest(version=0)
        try:
            return Manifest.from_json((manifest_dir(data) / f"{version}.json").read_bytes(), version)
        except FileNotFoundError:
            continue
    raise ManifestDamaged(f"manifest {version} is named by {pointer} but is missing")


def write_current(data: Path, manifest: Manifest) -> None:
    """Makes `manifest` the current one: durable when this returns, whole or absent after a crash."""
    directory = manifest_dir(data)
    directory.mkdir(parents=True, exist_ok=True)
    write_durably(directory / f"{manifest.version}.json", manifest.to_json(), sync_directory=False)
    write_durably(directory / "current", f"{manifest.version}\n".encode())


def write_durably(path: Path, raw: bytes, *, sync_directory: bool = True) -> None:
    """Writes beside, fsyncs, renames, fsyncs the directory."""
    temporary = path.with_name(path.name + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(raw)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.rename(path)
    if sync_directory:
        sync_dirs([path.parent])


def sync_dirs(directories: Iterable[Path]) -> None:
    for directory in directories:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
