"""What could not be read is moved aside, never deleted: `quarantine/` holds it, with a note that says what it was.

A note is a small JSON document beside the piece, `<name>.note`: path (relative to the data directory), problem, bytes,
rows, set_aside_ns. A piece that is missing has a note alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from spanfold.exporter.durable import read_document, sync_dirs, write_durably

DIRECTORY = "quarantine"
_NOTE = ".note"


def set_aside(data: Path, path: Path, problem: str, *, rows: int | None = None) -> None:
    """Moves a damaged file into the quarantine. Durable when this returns; doing it again changes nothing."""
    directory = data / DIRECTORY
    directory.mkdir(exist_ok=True, mode=0o700)
    was = path.relative_to(data)
    name = "-".join(was.parts)
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, directory / name)
        sync_dirs([path.parent])
    kept = directory / name
    note = {
        "path": str(was), "problem": problem, "bytes": kept.stat().st_size if kept.exists() else 0, "rows": rows,
        "set_aside_ns": time.time_ns(),
    }  # fmt: skip
    write_durably(directory / f"{name}{_NOTE}", json.dumps(note).encode())


def pieces(data: Path) -> list[dict[str, Any]]:
    """What lies in the quarantine: path (where it is now), bytes and, where there is a note, was, problem and rows."""
    directory = data / DIRECTORY
    if not directory.is_dir():
        return []
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(p for p in directory.rglob("*") if p.is_file() and p.suffix != ".tmp"):
        relative = str(path.relative_to(data))
        if path.suffix == _NOTE:
            note = read_document(path)
            piece = {"path": relative.removesuffix(_NOTE), "bytes": 0} | found.get(relative.removesuffix(_NOTE), {})
            found[relative.removesuffix(_NOTE)] = piece | {
                "was": note.get("path"), "problem": note.get("problem"), "rows": note.get("rows"),
            }  # fmt: skip
        else:
            found[relative] = {"path": relative, "bytes": path.stat().st_size}
    return [found[name] for name in sorted(found)]


def drop(data: Path, path: str) -> None:
    """Deletes a piece and its note, because a person said so."""
    kept = data / path
    for each in (kept, kept.with_name(kept.name + _NOTE)):
        each.unlink(missing_ok=True)
    sync_dirs([kept.parent])
