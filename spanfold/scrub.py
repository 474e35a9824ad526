"""Reads everything that is stored and compares it with the checksums that were written with it: `spanfold scrub`.

Journal segments (header and payload CRC of every record), manifests (CRC line), lake files and identity runs (xxh3-128
of all bytes), the published snapshot (DuckDB's own block checksums), the keyring (every wrapped key is opened) and
`state.db` (SQLite's own check). What the fold process has set aside already is damage too, until somebody has taken it
out of `quarantine/`. Works while everything runs: what went away meanwhile, as merged files do, is no damage.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb

from spanfold.collector.journal_reader import damage
from spanfold.collector.segments import segment_numbers, segment_path
from spanfold.exporter.durable import read_document
from spanfold.exporter.errors import FileDamaged, KeyMissing, ManifestDamaged, ManifestTooNew
from spanfold.exporter.identity import problem_of_run
from spanfold.exporter.keys import Keyring
from spanfold.exporter.lake import problem_of
from spanfold.exporter.manifest import Manifest, manifest_dir, manifest_versions, read_current
from spanfold.exporter.quarantine import pieces
from spanfold.reading import NoDataDirectory

PARTS = ("journal", "manifests", "lake", "identities", "snapshot", "keys", "state")
_EXPORTED = {"spans", "suppressed"}  # tables that a call record is read from
_SAID = {"contexts", "messages", "content"}  # and those with what was said


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not what was written."""

    part: str  # one of PARTS
    path: str  # relative to the data directory
    problem: str
    set_aside: str | None = None  # where it lies now, if it counts for nothing any more


@dataclass(slots=True)
class Report:
    """What was read, and what of it is damaged."""

    checked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))  # files, by part
    bytes: int = 0
    damaged: list[Damage] = field(default_factory=list)

    def took(self, part: str, path: Path) -> None:
        self.checked[part] += 1
        with contextlib.suppress(FileNotFoundError):
            self.bytes += path.stat().st_size

    def now_aside(self, data: Path) -> None:
        """Takes note of what was set aside since."""
        places = {piece.get("was"): piece["path"] for piece in pieces(data)}
        self.damaged = [replace(found, set_aside=places.get(found.path)) for found in self.damaged]

    def to_json(self) -> dict[str, Any]:
        return {"ok": not self.damaged, **asdict(self)}


def scrub(data: Path) -> Report:
    """Reads all of a data directory. Changes nothing. Raises NoDataDirectory."""
    if not data.is_dir():
        raise NoDataDirectory(f"there is no data directory {data}: start `spanfold up`, or give --data")
    report = Report()
    for check in (_journal, _manifests, _lake, _snapshot, _keys, _state):
        report.damaged += check(data, report)
    named = {found.path for found in report.damaged}
    for piece in pieces(data):
        was = piece.get("was") or piece["path"]
        if was not in named:
            part = "journal" if piece["path"].startswith("quarantine/journal-") else _part_of(was)
            report.damaged.append(Damage(part, was, piece.get("problem") or "it could not be read", piece["path"]))
    return report


def verify_exported(data: Path, *, content: bool) -> None:
    """Raises FileDamaged, which names the first lake file of call records that is not what was written."""
    wanted = _EXPORTED | (_SAID if content else set())
    for file in read_current(data).files:
        problem = problem_of(data, file) if file.table in wanted else None
        if problem and file in read_current(data).files:  # else it was merged meanwhile
            raise FileDamaged(f"{file.path}: {problem}; `spanfold scrub` sets it aside, then export again", file.path)


def _journal(data: Path, report: Report) -> Iterator[Damage]:
    directory = data / "journal"
    numbers = segment_numbers(directory)
    for number in numbers:
        path = segment_path(directory, number)
        try:
            found = damage(path, newest=number == numbers[-1])
        except FileNotFoundError:  # folded and trimmed since
            continue
        except OSError as error:
            yield Damage("journal", str(path.relative_to(data)), f"it cannot be read: {error.strerror}")
            continue
        report.took("journal", path)
        for offset, size in found:
            yield Damage(
                "journal", str(path.relative_to(data)), f"{size:,} bytes at offset {offset:,} are no whole record"
            )


def _manifests(data: Path, report: Report) -> Iterator[Damage]:
    directory = manifest_dir(data)
    for version in manifest_versions(directory):
        path = directory / f"{version}.json"
        try:
            Manifest.from_json(path.read_bytes(), str(version))
        except FileNotFoundError:
            continue
        except (ManifestDamaged, ManifestTooNew) as error:
            yield Damage("manifests", str(path.relative_to(data)), str(error))
        report.took("manifests", path)


def _lake(data: Path, report: Report) -> Iterator[Damage]:
    try:
        manifest = read_current(data)
    except (ManifestDamaged, ManifestTooNew) as error:
        yield Damage("manifests", "lake/manifest/current", str(error))
        return
    runs = [run for paths in manifest.runs.values() for run in paths]
    problems = chain(
        (("lake", file.path, problem_of(data, file)) for file in manifest.files),
        (("identities", run, problem_of_run(data / run)) for run in runs),
    )
    for part, path, problem in problems:
        report.took(part, data / path)
        if problem and _counts_still(data, path):
            yield Damage(part, path, problem)


def _counts_still(data: Path, path: str) -> bool:
    manifest = read_current(data)
    runs = {run for paths in manifest.runs.values() for run in paths}
    return path in runs or any(file.path == path for file in manifest.files)


def _snapshot(data: Path, report: Report) -> Iterator[Damage]:
    published = data / "spanfold.duckdb"
    was_published = read_document(data / "run" / "folder.json").get("snapshot", -1) >= 0
    private = data / "snapshots" / f".open-{os.getpid()}-scrub.duckdb"  # DuckDB caches what it has open by its name
    try:
        os.link(published, private)
    except FileNotFoundError:
        if was_published:  # the first commit of a data directory comes before its first snapshot
            yield Damage("snapshot", "spanfold.duckdb", "it is missing")
        return
    try:
        with duckdb.connect(str(private), read_only=True) as connection:
            _read_all(connection)
    except duckdb.Error as error:
        yield Damage("snapshot", "spanfold.duckdb", str(error).splitlines()[0])
    finally:
        private.unlink()
    report.took("snapshot", published)


def _read_all(connection: duckdb.DuckDBPyConnection) -> None:
    """Every column of every table that lies in the file itself; the views read the lake."""
    tables = connection.execute("SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT temporary").fetchall()
    for schema, table in tables:
        connection.execute(f'SELECT count(COLUMNS(*)), max(hash(COLUMNS(*))) FROM "{schema}"."{table}"').fetchall()


def _keys(data: Path, report: Report) -> Iterator[Damage]:
    path = data / "keys" / "keyring.json"
    used = read_current(data).version or segment_numbers(data / "journal")
    if not path.exists() and not used:
        return
    try:
        problems = Keyring.open(data, create=False).problems()
    except KeyMissing as error:
        problems = [str(error)]
    report.took("keys", path)
    for problem in problems:
        yield Damage("keys", str(path.relative_to(data)), problem)


def _state(data: Path, report: Report) -> Iterator[Damage]:
    path = data / "state.db"
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            said = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        said = [str(error)]
    report.took("state", path)
    for problem in said:
        if problem != "ok":
            yield Damage("state", "state.db", " ".join(problem.split()))


def _part_of(path: str) -> str:
    """The part that a path belongs to, by where it lies."""
    places = {"lake/manifest/": "manifests", "lake/keys/": "identities", "lake/": "lake", "journal/": "journal",
              "snapshots/": "snapshot", "keys/": "keys", "state": "state"}  # fmt: skip
    return next((part for start, part in places.items() if path.startswith(start)), "lake")
