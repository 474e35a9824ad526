"""The file of wrapped keys on disk: one small JSON document, replaced atomically, written under a lock.

    {"version": 1, "root": "<id of the root key>", "keys": [{"id", "kind", "tenant", "period", "wrapped"}, ...]}

kind is `data` (period = calendar month), `journal` (period = UTC day) or `secret` (hash secret of a tenant, no period).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from spanfold.exporter.durable import sync_dirs, write_durably
from spanfold.exporter.errors import KeyMissing

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A wrapped key and what it is for."""

    id: int
    kind: str
    tenant: str
    period: str
    wrapped: bytes

    @property
    def context(self) -> bytes:
        """Bound into the wrap, so that an entry cannot be passed off as another one."""
        return json.dumps(["spanfold key", _VERSION, self.id, self.kind, self.tenant, self.period]).encode()


@dataclass(frozen=True, slots=True)
class KeyringState:
    """What the file says."""

    root_id: str
    entries: tuple[Entry, ...]
    _by_name: dict[tuple[str, str, str], Entry] = field(init=False, repr=False, compare=False)
    _by_id: dict[int, Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {(e.kind, e.tenant, e.period): e for e in self.entries})
        object.__setattr__(self, "_by_id", {e.id: e for e in self.entries})

    def by_name(self, kind: str, tenant: str, period: str) -> Entry | None:
        return self._by_name.get((kind, tenant, period))

    def by_id(self, key_id: int) -> Entry | None:
        return self._by_id.get(key_id)

    def next_id(self) -> int:
        return max(self._by_id, default=0) + 1


class KeyringFile:
    """`keyring.json`, `root.key` and the lock in one directory of mode 0700."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "keyring.json"
        self.root_path = directory / "root.key"
        self.next_root_path = directory / "root.key.next"

    def read(self) -> KeyringState | None:
        """None when there is no keyring yet."""
        try:
            text = self.path.read_text("utf-8")
        except FileNotFoundError:
            return None
        try:
            document = json.loads(text)
            if document["version"] != _VERSION:
                raise KeyMissing(f"{self.path} was written by a later release (version {document['version']})")
            entries = (
                Entry(k["id"], k["kind"], k["tenant"], k["period"], bytes.fromhex(k["wrapped"]))
                for k in document["keys"]
            )
            return KeyringState(document["root"], tuple(entries))
        except (ValueError, KeyError, TypeError) as error:
            raise KeyMissing(f"{self.path} is damaged and must be restored from a backup: {error}") from None

    def stamp(self) -> int:
        """Changes whenever the file is replaced; 0 when there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return 0
        return hash((found.st_mtime_ns, found.st_ino))

    def write(self, state: KeyringState) -> None:
        """Replaces the file; returns when it would survive a power cut. The caller holds `locked()`."""
        keys = [
            {"id": e.id, "kind": e.kind, "tenant": e.tenant, "period": e.period, "wrapped": e.wrapped.hex()}
            for e in state.entries
        ]
        write_secret(self.path, json.dumps({"version": _VERSION, "root": state.root_id, "keys": keys}, indent=1))

    def read_root(self, path: Path) -> str:
        """Text of a root key file, which nobody but its owner may read."""
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise KeyMissing(f"{path} is readable by others (mode {mode:04o}); run: chmod 600 {path}")
        return path.read_text("ascii", errors="replace")

    def finish_rotation(self) -> None:
        """Puts the new root key, which the keyring is wrapped with already, in the old one's place."""
        os.replace(self.next_root_path, self.root_path)
        sync_dirs([self.directory])

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One writer at a time, over threads and processes."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.directory / "keyring.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def write_secret(path: Path, text: str) -> None:
    """Writes a file of mode 0600 atomically and durably."""
    write_durably(path, (text + "\n").encode())
