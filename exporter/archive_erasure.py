"""Erasure in the archive of retention: call records in clear, which are rewritten without the subject's rows.

Nothing counts archived rows, so they go whole. A file may hold calls whose day is no longer in the lake: whose they are
is found in the archive itself, by the same rule. Links are not followed; what cannot be read is named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spanfold.exporter.durable import sync_dirs
from spanfold.exporter.erasure_subject import Found, naming_rows, others_in

_BATCH_ROWS = 4096
_WHOSE = ("tenant", "trace_id", "span_id", "user_id", "session_id", "conversation_id")


@dataclass(slots=True)
class ArchiveErased:
    """What was done in an archive folder, or would be."""

    rows: int = 0  # call records taken away
    files: list[str] = field(default_factory=list)  # rewritten, or removed because no row was left
    left: dict[str, str] = field(default_factory=dict)  # file that may still hold the subject -> why


def erase_archive(folder: Path, found: Found, *, dry_run: bool) -> ArchiveErased:
    """Rewrites the files of an archive that hold calls of the subject; durable when this returns."""
    out = ArchiveErased()
    if not folder.is_dir():
        if os.path.lexists(folder):
            out.left[str(folder)] = "it is no folder"
        return out
    paths = list(_files(folder, tidy=not dry_run))
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


def _files(folder: Path, *, tidy: bool) -> Iterator[Path]:
    """What retention wrote there; what it had begun to write when its process ended is removed."""
    for path in sorted(folder.glob("date=*/calls-*")):
        if path.is_symlink() or path.parent.is_symlink() or not path.is_file():
            continue
        if path.suffix == ".parquet":
            yield path
        elif path.suffix == ".tmp" and tidy:
            path.unlink()


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
