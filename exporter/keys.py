"""Keys of a data directory: one root key wraps data keys (per tenant and month) and hash secrets (per tenant).

`keys/keyring.json` holds only wrapped keys. The root key comes from `SPANFOLD_ROOT_KEY` (64 hex digits, or `kms:NAME`
for a key service that a package offers as entry point NAME of the group `spanfold.root_keys`), else from
`keys/root.key` (mode 0600, generated for a new directory only).
Rotating the root re-wraps the small file; no data is rewritten. Hash secrets are never rotated: message ids are keyed
hashes and must stay the same for ever.

Nonces are random 96 bits (NIST SP 800-38D 8.3: at most 2^32 uses of a key). A tenant's month of 64 KiB blocks reaches
that bound at 280 TB; the journal's key changes every UTC day, which leaves room for 49,000 requests a second.
"""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from spanfold.exporter.errors import KeyMissing
from spanfold.exporter.keyring_file import Entry, KeyringFile, KeyringState, write_secret

ROOT_VARIABLE = "SPANFOLD_ROOT_KEY"
NEW_ROOT_VARIABLE = "SPANFOLD_NEW_ROOT_KEY"  # the one to rotate to, where the root key is not in a file
ENTRY_POINTS = "spanfold.root_keys"  # name -> callable without arguments that gives a RootKey
_SERVICE = "kms:"
_LOOK_SECONDS = 1.0  # between looks whether another process gave out newer keys
KEY_BYTES = 32
_NONCE_BYTES = 12
_USED = ("journal/*.seg", "lake/manifest/current")  # either says: this directory had keys before


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key and the id by which encrypted data names it."""

    id: int
    key: bytes = field(repr=False)


class RootKey(Protocol):
    """What wraps the other keys: a local key, or a key service that never lets its key out."""

    @property
    def id(self) -> str:
        """Says which root key wrapped a keyring; tells nothing about the key."""

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Encrypts a key, bound to its context."""

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Raises ValueError when the wrapped key or its context is not the one that was wrapped."""


class LocalRoot:
    """A root key held in memory: AES-256-GCM, fresh nonce per wrap."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a root key has {KEY_BYTES} bytes, not {len(key)}")
        self.id = _derive(key, "spanfold root id")[:8].hex()
        self._cipher = AESGCM(key)

    def wrap(self, key: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        try:
            return self._cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context)
        except InvalidTag:
            raise ValueError("the wrapped key is not the one that was written") from None


class Keyring:
    """The keys of one data directory. Safe for threads and for several processes at once."""

    def __init__(
        self, file: KeyringFile, find_root: Callable[[str], RootKey], state: KeyringState, *, root_in_file: bool
    ) -> None:
        self._file, self._find_root, self._state, self._root_in_file = file, find_root, state, root_in_file
        self._root = find_root(state.root_id)
        self._lock = threading.RLock()
        self._plain: dict[int, bytes] = {}
        self._hash_keys: dict[tuple[str, str], bytes] = {}
        self._journal: tuple[int, DataKey] | None = None
        self._looked_at, self._seen = time.monotonic(), file.stamp()

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        create: bool = True,
        environ: Mapping[str, str] = os.environ,
        root: RootKey | None = None,
    ) -> Keyring:
        """Opens the keys of a data directory (the files lie in `directory/keys`), or makes them for a new one.

        Raises KeyMissing, naming file or variable, when the root key is absent, malformed, readable by others or not
        the one that wrapped this keyring.
        """
        file = KeyringFile(directory / "keys")

        def find_root(root_id: str) -> RootKey:
            return _matching_root(file, environ, root, root_id)

        state = file.read()
        if state is None:
            used = next((str(path) for pattern in _USED for path in directory.glob(pattern)), None)
            if used:
                raise KeyMissing(f"{file.path} is missing, and {used} was written with its keys; put it back")
            if not create:
                raise KeyMissing(f"{file.path} is missing: nothing was written to this data directory yet")
            state = _new_keyring(file, environ, root)
        return cls(file, find_root, state, root_in_file=root is None and ROOT_VARIABLE not in environ)

    def hash_key(self, tenant: str, purpose: str) -> bytes:
        """32 bytes for keyed hashes of this tenant and purpose; the same for as long as the directory lives."""
        known = self._hash_keys.get((tenant, purpose))
        if known is None:
            entry = self._find("secret", tenant, "")
            known = self._hash_keys[tenant, purpose] = _derive(self.key(entry.id), f"spanfold hash {purpose}")
        return known

    def data_key(self, tenant: str, day: dt.date) -> DataKey:
        """The key for this tenant's content of that calendar month; made on first use."""
        self._look()
        entry = self._find("data", tenant, f"{day:%Y-%m}")
        return DataKey(entry.id, self.key(entry.id))

    def journal_key(self) -> DataKey:
        """The key for journal records accepted today (UTC)."""
        today = int(time.time() // 86400)
        self._look()
        known = self._journal
        if known is None or known[0] != today:
            entry = self._find("journal", "", (dt.date(1970, 1, 1) + dt.timedelta(days=today)).isoformat())
            known = self._journal = (today, DataKey(entry.id, self.key(entry.id)))
        return known[1]

    def key(self, key_id: int) -> bytes:
        """The key that encrypted data names. Raises KeyMissing when the keyring does not hold it."""
        with self._lock:
            known = self._plain.get(key_id)
            if known is not None:
                return known
            entry = self._state.by_id(key_id) or self._reload().by_id(key_id)
            if entry is None:
                raise KeyMissing(f"key {key_id} is not in {self._file.path}")
            self._plain[key_id] = self._unwrap(entry)
            return self._plain[key_id]

    def problems(self) -> list[str]:
        """What is wrong with each wrapped key that does not open."""
        found = []
        with self._lock:
            for entry in self._reload().entries:
                try:
                    self._unwrap(entry)
                except KeyMissing as error:
                    found.append(str(error))
        return found

    @property
    def root(self) -> tuple[str, str]:
        """(id of the root key, where it is from)."""
        return self._root.id, str(self._file.root_path) if self._root_in_file else ROOT_VARIABLE

    @property
    def root_in_file(self) -> bool:
        return self._root_in_file

    def entries(self) -> list[Entry]:
        """Every wrapped key, oldest first; the last of a kind, tenant and period is the one in use."""
        return list(self._reload().entries)

    def rotate_root(self, new: bytes | RootKey) -> None:
        """Wraps every key with a new root key (32 bytes, or of a key service); a crash at any point leaves one matching
        pair of files.

        A root key in a file is replaced there, and running processes follow. One from the environment or a key service
        must be replaced by the caller, and every other process of this directory started again with it.
        """
        root = LocalRoot(new) if isinstance(new, bytes) else new
        in_file = self._root_in_file and isinstance(new, bytes)
        with self._lock, self._file.locked():
            state = self._reload()
            entries = tuple(
                Entry(e.id, e.kind, e.tenant, e.period, root.wrap(self._unwrap(e), e.context)) for e in state.entries
            )
            if isinstance(new, bytes) and in_file:
                write_secret(self._file.next_root_path, new.hex())
            self._file.write(KeyringState(root.id, entries))
            if in_file:
                self._file.finish_rotation()
            self._state, self._root = KeyringState(root.id, entries), root

    def renew_data_keys(self, today: dt.date) -> int:
        """New data keys for this month and a new journal key for today, of every tenant that has one; running processes
        use them within a second or so. What was written stays readable by the keys before. Gives how many are new."""
        periods = {("data", f"{today:%Y-%m}"), ("journal", today.isoformat())}
        with self._lock, self._file.locked():
            state = self._reload()
            names = dict.fromkeys((e.kind, e.tenant, e.period) for e in state.entries if (e.kind, e.period) in periods)
            for kind, tenant, period in names:
                bare = Entry(state.next_id(), kind, tenant, period, b"")
                wrapped = self._root.wrap(os.urandom(KEY_BYTES), bare.context)
                state = KeyringState(state.root_id, (*state.entries, Entry(bare.id, kind, tenant, period, wrapped)))
            self._file.write(state)
            self._state, self._journal = state, None
        return len(names)

    def _look(self) -> None:
        """Reads the file again when another process wrote it."""
        if time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return
        with self._lock:
            self._looked_at = time.monotonic()
            stamp = self._file.stamp()
            if stamp != self._seen:
                self._reload()
                self._seen, self._journal = stamp, None

    def _find(self, kind: str, tenant: str, period: str) -> Entry:
        """The entry of this name, made and made durable if there is none in memory nor in the file."""
        with self._lock:
            entry = self._state.by_name(kind, tenant, period)
            if entry is not None:
                return entry
            with self._file.locked():
                state = self._reload()
                entry = state.by_name(kind, tenant, period)
                if entry is None:
                    key = os.urandom(KEY_BYTES)
                    bare = Entry(state.next_id(), kind, tenant, period, b"")
                    entry = Entry(bare.id, kind, tenant, period, self._root.wrap(key, bare.context))
                    self._state = KeyringState(state.root_id, (*state.entries, entry))
                    self._file.write(self._state)
                return entry

    def _reload(self) -> KeyringState:
        state = self._file.read()
        if state is None:
            raise KeyMissing(f"{self._file.path} is missing; it was there when this process started")
        if state.root_id != self._root.id:  # the root was rotated by another process
            self._root = self._find_root(state.root_id)
        self._state = state
        return state

    def _unwrap(self, entry: Entry) -> bytes:
        try:
            return self._root.unwrap(entry.wrapped, entry.context)
        except ValueError as error:
            raise KeyMissing(f"key {entry.id} in {self._file.path} is damaged: {error}") from None


def _derive(secret: bytes, info: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info.encode()).derive(secret)


def _new_keyring(file: KeyringFile, environ: Mapping[str, str], given: RootKey | None) -> KeyringState:
    with file.locked():
        state = file.read()  # another process may have been first
        if state is not None:
            return state
        if given is None and ROOT_VARIABLE not in environ and not file.root_path.exists():
            write_secret(file.root_path, os.urandom(KEY_BYTES).hex())
        root = given or _local_root(file, environ)
        state = KeyringState(root.id, ())
        file.write(state)
        return state


def _matching_root(file: KeyringFile, environ: Mapping[str, str], given: RootKey | None, root_id: str) -> RootKey:
    root = given or _local_root(file, environ)
    if root.id == root_id:
        return root
    if given is None and ROOT_VARIABLE not in environ and file.next_root_path.exists():
        interrupted = LocalRoot(_parse(file.read_root(file.next_root_path), str(file.next_root_path)))
        if interrupted.id == root_id:  # a rotation ended between its two renames
            file.finish_rotation()
            return interrupted
    source = "the key service" if given else ROOT_VARIABLE if ROOT_VARIABLE in environ else str(file.root_path)
    raise KeyMissing(f"{source} holds root key {root.id}, but {file.path} was written with root key {root_id}")


def _local_root(file: KeyringFile, environ: Mapping[str, str]) -> RootKey:
    if ROOT_VARIABLE in environ:
        return root_from(environ[ROOT_VARIABLE], ROOT_VARIABLE)
    if not file.root_path.exists():
        raise KeyMissing(f"root key {file.root_path} is missing; put it back or set {ROOT_VARIABLE}")
    return LocalRoot(_parse(file.read_root(file.root_path), str(file.root_path)))


def root_from(text: str, source: str) -> RootKey:
    """The root key that a variable holds or names. Raises KeyMissing, naming the variable."""
    if not text.startswith(_SERVICE):
        return LocalRoot(_parse(text, source))
    name = text.removeprefix(_SERVICE).strip()
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        service: RootKey = entry.load()()
        return service
    known = ", ".join(sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))) or "none"
    raise KeyMissing(f"{source} names key service {name!r}, which no installed package offers (known: {known})")


def _parse(text: str, source: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyMissing(f"{source} must hold a root key of {2 * KEY_BYTES} hexadecimal digits")
    return key
