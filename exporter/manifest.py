"""The manifest: which of the lake's files count. Readers see whole manifests only (rules 6 and 7 of the design).

`lake/manifest/<version>.json` is immutable; `lake/manifest/current` names the newest and is replaced atomically. Both
are fsynced with their directory before a commit returns. Paths are relative to the data directory.

Where the newest one is damaged, or `current` is, the newest one that is whole stands in for it: what the damaged one
added is folded again, because the journal is kept from the position of the manifest before on.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from spanfold.exporter.durable import write_durably
from spanfold.exporter.errors import ManifestDamaged, ManifestTooNew
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
    counters: Mapping[str, int] = field(default_factory=dict)  # running totals: spans, calls, duplicates, ...
    priced_by: str = ""  # name of the price book that the rollup files hold the cost of

    def files_of(self, table: str, date: str | None = None) -> list[FileEntry]:
        return [f for f in self.files if f.table == table and (date is None or f.date == date)]

    def paths(self, table: str) -> list[str]:
        """Relative paths of the files of one table, oldest day first."""
        return [file.path for file in self.of_table(table)]

    def of_table(self, table: str) -> list[FileEntry]:
        """The files of one table, oldest day first."""
        return sorted(self.files_of(table), key=lambda f: (f.date, f.created, f.path))

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
        """Raises ManifestDamaged if the checksum line does not fit, ManifestTooNew if a later release wrote it."""
        text, _, check = raw.rstrip(b"\n").rpartition(b"\n")
        if not text or check != f"{zlib.crc32(text):08x}".encode():
            raise ManifestDamaged(f"manifest {name} is damaged: its checksum does not fit its text")
        body: dict[str, Any] = orjson.loads(text)
        if body["format"] > MANIFEST_FORMAT or body["schema_version"] > SCHEMA_VERSION:
            raise ManifestTooNew(
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


@dataclass(frozen=True, slots=True)
class Found:
    """The manifest that counts, and what had to be passed over to find it."""

    manifest: Manifest
    damaged: tuple[Path, ...] = ()


def read_current(data: Path) -> Manifest:
    """The newest manifest that is whole; an empty one of version 0 for a data directory without a lake."""
    return find_current(data).manifest


def find_current(data: Path) -> Found:
    """The newest manifest that is whole. Raises ManifestDamaged when none is, ManifestTooNew.

    One that stands in for a damaged one gets its number, so that no number is given to two different manifests.
    """
    directory = manifest_dir(data)
    for _ in range(3):  # the pointer may move, and old versions go, between the two reads
        version = _pointed_at(directory)
        try:
            return Found(Manifest.from_json((directory / f"{version}.json").read_bytes(), str(version)))
        except FileNotFoundError:
            continue
        except ManifestDamaged:
            break
    return _newest_whole(directory)


def _pointed_at(directory: Path) -> int | None:
    """The version that `current` names; None if it is missing or no number."""
    try:
        return int((directory / "current").read_text())
    except (FileNotFoundError, ValueError):
        return None


def _newest_whole(directory: Path) -> Found:
    versions = manifest_versions(directory)
    damaged = [] if _pointed_at(directory) in versions else [directory / "current"]
    for version in versions:
        path = directory / f"{version}.json"
        try:
            manifest = Manifest.from_json(path.read_bytes(), str(version))
        except (FileNotFoundError, ManifestDamaged):
            damaged.append(path)
            continue
        return Found(replace(manifest, version=versions[0]), tuple(path for path in damaged if path.exists()))
    if versions == [1]:  # what the first one added is folded again from the very beginning
        return Found(Manifest(version=1), tuple(path for path in damaged if path.exists()))
    if versions or damaged[0].exists():
        raise ManifestDamaged(f"no manifest in {directory} is whole: restore that directory from a backup")
    return Found(Manifest(version=0))


def manifest_versions(directory: Path) -> list[int]:
    """Numbers of the manifests that are kept, newest first."""
    return sorted((int(path.stem) for path in directory.glob("*.json") if path.stem.isdigit()), reverse=True)


def write_current(data: Path, manifest: Manifest) -> None:
    """Makes `manifest` the current one: durable when this returns, whole or absent after a crash."""
    directory = manifest_dir(data)
    directory.mkdir(parents=True, exist_ok=True)
    write_durably(directory / f"{manifest.version}.json", manifest.to_json(), sync_directory=False)
    write_durably(directory / "current", f"{manifest.version}\n".encode())
