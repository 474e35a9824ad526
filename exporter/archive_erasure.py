"""Erasure in the archive of retention: call records in clear, which are rewritten without the subject's rows.

Nothing counts archived rows, so they go whole. A file may hold calls whose day is no longer in the lake: whose they are
is found in the archive itself, by the same rule. Links are not followed; what cannot be reached or read is named.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spanfold.exporter.durable import sync_dirs, write_durably
from spanfold.exporter.erasure_subject import Found, naming_rows, others_in
from spanfold.exporter.errors import ArchiveAway

MARK = ".spanfold-archive"  # the file that says which folder this is
_MARK_LENGTH = 32
_BATCH_ROWS = 4096
_WHOSE = ("tenant", "trace_id", "span_id", "user_id", "session_id", "conversation_id")


@dataclass(slots=True)
class ArchiveErased:
    """What was done in archive folders, or would be."""

    folders: list[str] = field(default_factory=list)  # searched
    rows: int = 0  # call records taken away
    files: list[str] = field(default_factory=list)  # rewritten, or removed because no row was left
    left: dict[str, str] = field(default_factory=dict)  # file or folder that may still hold the subject -> why


def marked(folder: Path, known: str | None) -> str:
    """The mark of a folder that is about to be written to, durable; `known`: what it was when it was written to before.
    Raises ArchiveAway where that is not there."""
    mark = _mark_of(folder)
    if known is not None and mark != known:
        raise ArchiveAway(
            f"{folder} is not the folder that was archived to before (it has no {MARK}, or another): mount that, "
            "or set `archive` to another folder"
        )
    if mark is None:
        mark = secrets.token_hex(_MARK_LENGTH // 2)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(folder / MARK, mark.encode())
    return mark


def erase_archives(folders: Mapping[Path, str | None], found: Found, *, dry_run: bool) -> ArchiveErased:
    """Rewrites the files that hold calls of the subject; durable when this returns. `folders`: every one that was
    written to, with its mark; None = it is set, and may be unused."""
    out, paths = ArchiveErased(), list[Path]()
    for folder, mark in folders.items():
        if folder.is_dir():
            out.folders.append(str(folder))
            paths += _files(folder, out, tidy=not dry_run)
        elif os.path.lexists(folder):
            out.left[str(folder)] = "it is no folder"
        if mark is not None and _mark_of(folder) != mark:
            out.left.setdefault(str(folder), "what was archived there is not there now: mount it, and erase again")
    found = _widened(paths, found, out)
    for path in paths:
        if str(path) in out.left:
            continue
        try:
            removed = _erase_file(path, found, dry_run=dry_run)
        except (OSError, pa.ArrowException) as error:
            out.left[str(path)] = str(error).splitlines()[0]
            continue
        if removed:
            out.rows += removed
            out.files.append(str(path))
    return out


def _mark_of(folder: Path) -> str | None:
    try:
        return (folder / MARK).read_text()[:_MARK_LENGTH]
    except (OSError, UnicodeDecodeError):
        return None


def _files(folder: Path, out: ArchiveErased, *, tidy: bool) -> Iterator[Path]:
    """What retention wrote there; what it had begun to write when its process ended is removed."""
    for day in _entries(folder, "date=", out):
        for path in _entries(day, "calls-", out) if day.is_dir() else ():
            if path.suffix == ".parquet":
                yield path
            elif path.suffix == ".tmp" and tidy:
                path.unlink()


def _entries(folder: Path, beginning: str, out: ArchiveErased) -> list[Path]:
    """What is in a folder under such a name; links, and a folder that may not be listed, are named in `out`."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.startswith(beginning))
    except OSError as error:
        out.left[str(folder)] = error.strerror or str(error)
        return []
    out.left |= {str(path): "it is a link, which is not followed" for path in paths if path.is_symlink()}
    return [path for path in paths if not path.is_symlink()]


def _widened(paths: list[Path], found: Found, out: ArchiveErased) -> Found:
    """What was found in the lake, and what the archive alone knows: traces, and spans there that name somebody else."""
    traces, told = {*found.traces.to_pylist()}, set[str]()
    for _, rows in _read(paths, out):
        named, columns = naming_rows(found.subject, rows)
        traces.update(named["trace_id"].to_pylist())
        told.update(columns)
    ids, others = pa.array(sorted(traces), pa.string()), {*found.others.to_pylist()}
    for _, rows in _read(paths, out):
        theirs = rows.filter(pc.and_(pc.is_in(rows["trace_id"], ids), pc.equal(rows["tenant"], found.subject.tenant)))
        others.update(others_in(found.subject, theirs, sorted(told)).to_pylist())
    return replace(found, traces=ids, others=pa.array(sorted(others), pa.string()))


def _read(paths: list[Path], out: ArchiveErased) -> Iterator[tuple[Path, pa.Table]]:
    """The columns that say whose a row is."""
    for path in paths:
        try:
            rows = pq.read_table(path, columns=list(_WHOSE), partitioning=None)
        except (OSError, pa.ArrowException) as error:
            out.left[str(path)] = str(error).splitlines()[0]
            continue
        yield path, rows


def _erase_file(path: Path, found: Found, *, dry_run: bool) -> int:
    """How many rows went."""
    with pq.ParquetFile(path) as file:
        whose = file.read(columns=list(_WHOSE))
        removed = int(pc.sum(found.rows_of("calls", whose)).as_py() or 0)
        if not removed or dry_run:
            return removed
        temporary = path.with_suffix(".tmp")
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as sink:
            with pq.ParquetWriter(sink, file.schema_arrow, compression="zstd") as writer:
                for batch in file.iter_batches(_BATCH_ROWS):
                    rows = pa.table(batch)
                    writer.write_table(rows.filter(pc.invert(found.rows_of("calls", rows))))
            sink.flush()
            os.fsync(sink.fileno())
    if removed == whose.num_rows:
        temporary.unlink()
        path.unlink()
    else:
        temporary.rename(path)
    sync_dirs([path.parent])
    return removed
