"""The journal's bytes: records in frames, frames in segment files.

A frame is a header of 36 bytes, a nonce, and AES-256-GCM over (tenant, key label, request body); the header without
its checksums is the associated data. The header has its own CRC, so that a length is believed only if it was written;
the frame's checksum tells a torn or flipped record from a whole one without any key (32 bits of XXH3, 15 times as fast
as zlib's CRC-32 of format 1; the GCM tag checks the content again). In clear stand: signal, number of items, time of
receipt, key id.

Segments are preallocated, so what follows the last frame of a live one is zeros. `SFJ` + version starts each frame;
readers find their way after damage by looking for it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import xxhash
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spanfold.collector.errors import RecordDamaged, RecordTooNew

SIGNALS = ("traces", "logs", "metrics")
FRAME_VERSION = 2  # 1: the checksum of a payload is its CRC-32
_MAGIC = b"SFJ"
_CLEAR = struct.Struct("<3sBB3xIIIQ")  # magic, version, signal, items, payload bytes, key id, received ns
_CHECKS = struct.Struct("<II")  # checksum of the payload, CRC of everything before this field
_META = struct.Struct("<Hh")  # bytes of the tenant, bytes of the key label (-1: none)
HEADER_BYTES = _CLEAR.size + _CHECKS.size
_NONCE_BYTES, _TAG_BYTES = 12, 16
_SUFFIX = ".seg"


class DataKey(Protocol):
    """What sealing needs of a key."""

    @property
    def id(self) -> int: ...
    @property
    def key(self) -> bytes: ...


class JournalKeys(Protocol):
    """What the journal needs of a keyring."""

    def journal_key(self) -> DataKey: ...
    def key(self, key_id: int) -> bytes: ...


class Position(NamedTuple):
    """A place in the journal; positions are ordered as records are."""

    segment: int
    offset: int


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """One accepted request."""

    signal: str  # traces | logs | metrics
    tenant: str
    key_label: str | None
    received_ns: int
    body: bytes  # an OTLP export request in protobuf
    items: int = 0  # spans, log records or data points in it


class Header(NamedTuple):
    """What stands in clear before a payload."""

    version: int
    signal: str
    items: int
    length: int  # bytes of the payload
    key_id: int
    received_ns: int
    check: int

    @property
    def frame_bytes(self) -> int:
        return HEADER_BYTES + self.length


class Frame(NamedTuple):
    """A whole frame of a segment."""

    offset: int
    header: Header

    @property
    def end(self) -> int:
        return self.offset + self.header.frame_bytes


class Ciphers:
    """Keyed ciphers, made once per key."""

    def __init__(self, keys: JournalKeys) -> None:
        self._keys = keys
        self._by_id: dict[int, AESGCM] = {}

    def current(self) -> tuple[int, AESGCM]:
        key = self._keys.journal_key()
        if key.id not in self._by_id:
            self._by_id[key.id] = AESGCM(key.key)
        return key.id, self._by_id[key.id]

    def of(self, key_id: int) -> AESGCM:
        if key_id not in self._by_id:
            self._by_id[key_id] = AESGCM(self._keys.key(key_id))
        return self._by_id[key_id]


def resealed(record: JournalRecord, header: Header, ciphers: Ciphers) -> bytearray:
    """The frame of a record under the key that its header names."""
    return seal(record, header.key_id, ciphers.of(header.key_id))


def seal(record: JournalRecord, key_id: int, cipher: AESGCM) -> bytearray:
    """The frame of a record."""
    tenant = record.tenant.encode()
    label = record.key_label.encode() if record.key_label is not None else b""
    meta = _META.pack(len(tenant), len(label) if record.key_label is not None else -1)
    plain = b"".join((meta, tenant, label, record.body))
    length = _NONCE_BYTES + len(plain) + _TAG_BYTES
    frame = bytearray(HEADER_BYTES + length)
    signal = SIGNALS.index(record.signal)
    clear = _CLEAR.pack(_MAGIC, FRAME_VERSION, signal, record.items, length, key_id, record.received_ns)
    view = memoryview(frame)
    nonce = os.urandom(_NONCE_BYTES)
    payload = view[HEADER_BYTES:]
    payload[:_NONCE_BYTES] = nonce
    cipher.encrypt_into(nonce, plain, clear, payload[_NONCE_BYTES:])
    checked = clear + _checksum(FRAME_VERSION, payload).to_bytes(4, "little")
    view[:HEADER_BYTES] = checked + zlib.crc32(checked).to_bytes(4, "little")
    return frame


class Bodies(Protocol):
    """Takes the bodies of trace requests out of their records."""

    def append(self, body: memoryview) -> None: ...


def unseal(header: Header, frame: bytes, ciphers: Ciphers, bodies: Bodies | None = None) -> JournalRecord:
    """The record of a whole frame; where somebody takes the `bodies`, that of a trace request without its own. Raises
    RecordDamaged, RecordTooNew, and what the keyring raises for a lost key."""
    if header.version > FRAME_VERSION:
        raise RecordTooNew(f"the journal holds a record of format {header.version}: install the release that wrote it")
    cipher = ciphers.of(header.key_id)
    view = memoryview(frame)
    nonce = view[HEADER_BYTES : HEADER_BYTES + _NONCE_BYTES]
    try:
        plain = cipher.decrypt(nonce, view[HEADER_BYTES + _NONCE_BYTES :], view[: _CLEAR.size])
    except InvalidTag:
        raise RecordDamaged from None
    tenant_bytes, label_bytes = _META.unpack_from(plain)
    label_at = _META.size + tenant_bytes
    body_at = label_at + max(label_bytes, 0)
    if bodies is not None and header.signal == "traces":
        bodies.append(memoryview(plain)[body_at:])
        body = b""
    else:
        body = plain[body_at:]
    return JournalRecord(
        signal=header.signal, tenant=plain[_META.size : label_at].decode(), received_ns=header.received_ns,
        key_label=plain[label_at:body_at].decode() if label_bytes >= 0 else None, body=body,
        items=header.items,
    )  # fmt: skip


def parse_header(raw: bytes | memoryview) -> Header | None:
    """The header at the start of `raw`; None unless all of it was written as it stands."""
    if len(raw) < HEADER_BYTES:
        return None
    magic, version, signal, items, length, key_id, received_ns = _CLEAR.unpack_from(raw)
    check, own = _CHECKS.unpack_from(raw, _CLEAR.size)
    if magic != _MAGIC or own != zlib.crc32(raw[: HEADER_BYTES - 4]) or signal >= len(SIGNALS):
        return None
    return Header(version, SIGNALS[signal], items, length, key_id, received_ns, check)


def frame_at(data: memoryview, offset: int) -> Frame | None:
    """The whole, undamaged frame that starts at `offset`."""
    header = parse_header(data[offset : offset + HEADER_BYTES])
    if header is None:
        return None
    return Frame(offset, header) if is_whole(header, data[offset : offset + header.frame_bytes]) else None


def is_whole(header: Header, frame: memoryview) -> bool:
    """Is this the frame that its header tells of? Of a later format nobody knows: who unseals it says so."""
    if len(frame) != header.frame_bytes:
        return False
    return header.version > FRAME_VERSION or _checksum(header.version, frame[HEADER_BYTES:]) == header.check


def _checksum(version: int, payload: memoryview) -> int:
    return zlib.crc32(payload) if version == 1 else xxhash.xxh3_64_intdigest(payload) & 0xFFFFFFFF


def resync(data: bytes, offset: int) -> Frame | None:
    """The first whole frame that starts after `offset`."""
    view = memoryview(data)
    while (offset := data.find(_MAGIC, offset + 1)) >= 0:
        frame = frame_at(view, offset)
        if frame is not None:
            return frame
    return None


def frames(data: bytes, start: int = 0) -> Iterator[Frame]:
    """The whole frames of a segment from `start` on, damage between them passed over."""
    view = memoryview(data)
    frame = frame_at(view, start) or resync(data, start)
    while frame is not None:
        yield frame
        frame = frame_at(view, frame.end) or resync(data, frame.end)


def segment_path(directory: Path, number: int) -> Path:
    return directory / f"{number:010d}{_SUFFIX}"


def segment_numbers(directory: Path) -> list[int]:
    """Numbers of the segments in a journal directory, ascending."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(int(name.removesuffix(_SUFFIX)) for name in names if name.endswith(_SUFFIX) and name[:-4].isdigit())


def segment_end(path: Path) -> int:
    """Offset after the last whole frame."""
    end = 0
    for frame in frames(path.read_bytes()):
        end = frame.end
    return end


def durable_end(directory: Path) -> Position:
    """A position that every record acknowledged before this call precedes. Needs no key; for any process."""
    numbers = segment_numbers(directory)
    if not numbers:
        return Position(0, 0)
    return Position(numbers[-1], segment_end(segment_path(directory, numbers[-1])))
