"""Files that are whole or absent after a power cut: neither a rename nor a new name is durable by itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def write_durably(path: Path, raw: bytes, *, sync_directory: bool = True) -> None:
    """Writes beside, fsyncs, renames, fsyncs the directory."""
    _write(path, raw, os.fsync)
    if sync_directory:
        sync_dirs([path.parent])


def write_for_readers(path: Path, raw: bytes) -> None:
    """Readers find the old or the new content; a power cut may take both."""
    _write(path, raw, lambda descriptor: None)


def _write(path: Path, raw: bytes, sync: Callable[[int], None]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(raw)
        while view:
            view = view[os.write(descriptor, view) :]
        sync(descriptor)
    finally:
        os.close(descriptor)
    temporary.rename(path)


def read_document(path: Path) -> dict[str, Any]:
    """A small JSON object that another process may be writing; empty if it is not there or half there."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def sync_dirs(directories: Iterable[Path]) -> None:
    for directory in directories:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
