"""No span twice, ever: sorted runs of identity hashes beside the files, memory-mapped.

An identity is a 128-bit hash of (tenant, trace_id, span_id), with a 64-bit digest of the rest to tell a resent span
from a changed one: 24 bytes a span (2.4 GB at 10^8). A trace has a mark for every hour that its spans start in: an
identity with span id zero and the hour for a digest, so that its spans are found without reading the day. Runs are
immutable files named by the manifest, so a commit that did not happen leaves no trace; lost or damaged runs are built
again from the stored rows (`identity_rebuild.py`). Runs merge by size up to `LARGEST_RUN`, so that a lookup asks few of
them and a merge never holds more than a fixed amount of memory.

A file is `SFKEYS2` + newline, the xxh3-128 of the columns, the number of rows, then three columns of 64-bit words;
files of the first format have neither checksum nor number.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from spanfold.exporter.durable import sync_dirs
from spanfold.exporter.errors import RunDamaged

U64 = NDArray[np.uint64]
ANY_HOUR = 0  # of a mark whose spans may lie anywhere: their own start is not believable
UNKNOWN_DIGEST = 0  # of an identity that was read from a stored row: whatever is sent again counts as the same
LARGEST_RUN = 4 << 20  # identities: 100 MB; a merge holds at most four times that
_FAN_IN = 8  # runs of one size class before they merge
_MAGIC, _MAGIC_1 = b"SFKEYS2\n", b"SFKEYS1\n"
_HEAD = struct.Struct("<8s16sQ")  # magic, checksum, rows


@dataclass(frozen=True, slots=True)
class Identities:
    """Identities of some rows: two halves of the hash and the digest of the rest, one entry a row."""

    low: U64
    high: U64
    digest: U64

    def take(self, at: Any) -> Identities:
        return Identities(self.low[at], self.high[at], self.digest[at])

    def sorted(self) -> Identities:
        return self.take(np.lexsort((self.high, self.low)))

    @staticmethod
    def concat(parts: Sequence[Identities]) -> Identities:
        return Identities(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("low", "high", "digest")))


def _mix(value: U64, seed: int) -> U64:
    """Finaliser of MurmurHash3: every input bit reaches every output bit."""
    with np.errstate(over="ignore"):
        value = value ^ np.uint64(seed)
        value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
        return value ^ (value >> np.uint64(33))


def span_identities(tenants: U64, ids: NDArray[np.uint8], digest: U64) -> Identities:
    """Identities from tenant hashes and (n, 24) raw bytes: trace_id then span_id."""
    words = np.ascontiguousarray(ids).view("<u8")
    with np.errstate(over="ignore"):
        mixed = _mix(words[:, 0], 0x9E3779B97F4A7C15) + _mix(words[:, 1], 0xC2B2AE3D27D4EB4F) * np.uint64(3)
        mixed = mixed ^ tenants
        low = _mix(mixed + _mix(words[:, 2], 0x165667B19E3779F9), 0x27D4EB2F165667C5)
        high = _mix(mixed ^ (_mix(words[:, 2], 0x85EBCA77C2B2AE63) * np.uint64(5)), 0xD6E8FEB86659FD93)
    return Identities(low, high, digest)


def trace_identities(traces: Sequence[tuple[str, str]]) -> Identities:
    """Identities of the marks of traces (tenant, trace_id in hex); the digest is not theirs."""
    raw = b"".join(bytes.fromhex(trace) + bytes(8) for _, trace in traces)
    owner = np.array([tenant_hash(tenant) for tenant, _ in traces], np.uint64)
    return span_identities(owner, np.frombuffer(raw, np.uint8).reshape(-1, 24), np.zeros(len(traces), np.uint64))


def record_identities(hashes: Iterable[int]) -> Identities:
    """Identities from 128-bit integers (logs, metric points): no digest."""
    pairs = [((h & 0xFFFFFFFFFFFFFFFF), h >> 64) for h in hashes]
    array = np.array(pairs, np.uint64).reshape(-1, 2)
    return Identities(array[:, 0].copy(), array[:, 1].copy(), np.zeros(len(array), np.uint64))


def tenant_hash(tenant: str) -> np.uint64:
    return np.uint64(xxhash.xxh3_64_intdigest(tenant.encode()))


class IdentityRuns:
    """The identities of one kind (spans, logs, metrics): `paths` as the manifest names them, oldest first."""

    def __init__(self, data: Path, paths: Sequence[str]) -> None:
        self._data = data
        self._runs = [(path, _open(data / path)) for path in paths]

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self._runs]

    def __len__(self) -> int:
        return sum(len(run.low) for _, run in self._runs)

    def find(self, wanted: Identities) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(known, same): which identities are stored, and which of those with the same digest."""
        known = np.zeros(len(wanted.low), np.bool_)
        same = np.zeros(len(wanted.low), np.bool_)
        order = np.argsort(wanted.low)
        needle = wanted.take(order)
        for _, run in self._runs:
            at, left = np.searchsorted(run.low, needle.low), np.arange(len(needle.low))
            while len(left):  # more than once where a low half is there again: a trace of several hours
                left = left[at[left] < len(run.low)]
                left = left[run.low[at[left]] == needle.low[left]]
                hit = left[run.high[at[left]] == needle.high[left]]
                known[order[hit]] = True
                digest = run.digest[at[hit]]
                same[order[hit]] |= (digest == needle.digest[hit]) | (digest == UNKNOWN_DIGEST)
                at[left] += 1
        return known, same

    def hours(self, traces: Sequence[tuple[str, str]]) -> set[int]:
        """The hours since 1970 that spans of these traces (tenant, trace_id in hex) start in, or ANY_HOUR."""
        wanted, found = trace_identities(traces), set[int]()
        for _, run in self._runs:
            first, end = (np.searchsorted(run.low, wanted.low, side=side) for side in ("left", "right"))
            for row in np.flatnonzero(first < end).tolist():
                here = slice(int(first[row]), int(end[row]))
                found.update(run.digest[here][run.high[here] == wanted.high[row]].tolist())
        return found

    def add(self, fresh: Identities, name: str) -> tuple[IdentityRuns, list[str]]:
        """(runs with these added, paths that no longer count). Durable before the manifest names them."""
        if not len(fresh.low):
            return self, []
        runs = [*self._runs, ("", fresh.sorted())]
        gone: list[str] = []
        while _worth_merging([len(run.low) for _, run in runs[-_FAN_IN:]]):
            gone += [path for path, _ in runs[-_FAN_IN:] if path]
            merged = Identities.concat([run for _, run in runs[-_FAN_IN:]]).sorted()
            runs = [*runs[:-_FAN_IN], ("", merged)]
        path = f"lake/keys/{name}.keys"
        _write(self._data / path, runs[-1][1])
        out = IdentityRuns(self._data, [])
        out._runs = [*runs[:-1], (path, runs[-1][1])]
        return out, gone


def _worth_merging(sizes: Sequence[int]) -> bool:
    """Whether the newest runs are as many as merge at once, of one size class, and together not too large."""
    return len(sizes) == _FAN_IN and sizes[0] <= 4 * sum(sizes[1:]) and sum(sizes) <= LARGEST_RUN


def _write(path: Path, run: Identities) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".tmp")
    columns = [np.ascontiguousarray(column) for column in (run.low, run.high, run.digest)]
    checksum = xxhash.xxh3_128()
    for column in columns:
        checksum.update(column.data)
    with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(_HEAD.pack(_MAGIC, checksum.digest(), len(run.low)))
        for column in columns:
            file.write(column.data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_dirs([path.parent])


def _open(path: Path) -> Identities:
    """Maps a run. Raises RunDamaged when it has to be built again."""
    try:
        size, (start, rows, _) = path.stat().st_size, _head(path)
    except FileNotFoundError:
        raise RunDamaged(f"{path} is missing") from None
    if start < 0 or size != start + 24 * rows:
        raise RunDamaged(f"{path} is not a whole run of identities")
    if rows == 0:
        empty = np.empty(0, np.uint64)
        return Identities(empty, empty, empty)
    words = np.memmap(path, np.uint64, "r", start, (3, rows))
    return Identities(words[0], words[1], words[2])


def _head(path: Path) -> tuple[int, int, bytes | None]:
    """(where the columns begin, rows, stated checksum) of a run; -1 for what is none."""
    with path.open("rb") as file:
        raw = file.read(_HEAD.size)
    if raw.startswith(_MAGIC_1):
        return len(_MAGIC_1), (path.stat().st_size - len(_MAGIC_1)) // 24, None
    if len(raw) < _HEAD.size or not raw.startswith(_MAGIC):
        return -1, 0, None
    _, checksum, rows = _HEAD.unpack(raw)
    return _HEAD.size, rows, checksum


def problem_of_run(path: Path) -> str | None:
    """What is wrong with the file of a run; None if its bytes are those that were written (as far as is known of the
    first format, which states no checksum)."""
    try:
        run = _open(path)
    except RunDamaged:
        return "it is not a whole run of identities" if path.exists() else "it is missing"
    checksum = xxhash.xxh3_128()
    for column in (run.low, run.high, run.digest):
        checksum.update(np.ascontiguousarray(column).data)
    return None if _head(path)[2] in (None, checksum.digest()) else "its checksum does not fit"
