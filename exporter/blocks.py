"""A content block at rest: sealed on its way in, opened and checked on its way out.

    encrypted  1 | key id (u32, big endian) | nonce (12 bytes) | AES-256-GCM(zstd(words)), tag included
    plain      2 | BLAKE2b-128(context, frame) | frame = zstd(words)

The context (tenant, day, block id, schema, hash of the ids inside) is authenticated, so a block that was moved to
another row, day or tenant does not open. A plain block exists only where `content = "plain"` was chosen; its digest
finds damage and mix-ups, not an attacker.
"""

from __future__ import annotations

import datetime as dt
import os
import struct
import threading
from collections.abc import Sequence
from hashlib import blake2b

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spanfold.exporter.errors import BlockDamaged, KeyMissing
from spanfold.exporter.keys import Keyring

_ENCRYPTED, _PLAIN = 1, 2
_SCHEMA = 1  # of the words inside; a change takes new version bytes, so that old blocks stay readable
_HEAD = struct.Struct(">BI12s")
_DIGEST_BYTES = 16
_MAX_RAW_BYTES = 1 << 30  # far above the largest request: stops a forged frame header from asking for all memory

_local = threading.local()  # zstd contexts are costly to make and must not be shared by threads


def compress(raws: Sequence[bytes], level: int) -> list[bytes]:
    """A zstd frame for each, in one call that lets other threads run meanwhile."""
    if not any(raws):  # which the call below refuses
        return [_compressor(level).compress(raw) for raw in raws]
    frames = _compressor(level).multi_compress_to_buffer([*raws])
    return [frames[i].tobytes() for i in range(len(frames))]


def seal_block(
    keyring: Keyring, mode: str, *, tenant: str, day: dt.date, block_id: bytes, ids_hash: bytes, frame: bytes
) -> bytes:
    """`ct` for one row of the content table, from its words in a zstd frame. `mode` is `encrypted` or `plain`; with
    `none` nothing is sealed."""
    context = _context(tenant, day, block_id, ids_hash)
    if mode == "encrypted":
        data_key = keyring.data_key(tenant, day)
        nonce = os.urandom(12)
        return _HEAD.pack(_ENCRYPTED, data_key.id, nonce) + AESGCM(data_key.key).encrypt(nonce, frame, context)
    if mode == "plain":
        return bytes([_PLAIN]) + _digest(context, frame) + frame
    raise ValueError(f"content mode {mode!r} stores no blocks; known: encrypted, plain")


def open_block(
    keyring: Keyring | None, *, tenant: str, day: dt.date, block_id: bytes, ids_hash: bytes, ct: bytes
) -> bytes:
    """The words of a block. Raises BlockDamaged when these are not the bytes sealed for this row, KeyMissing when the
    block is encrypted and there is no keyring, or not its key."""
    context = _context(tenant, day, block_id, ids_hash)
    version = ct[0] if ct else 0
    if version == _ENCRYPTED and len(ct) > _HEAD.size:
        if keyring is None:
            raise KeyMissing(f"content block {block_id.hex()} is encrypted and no key is at hand")
        _, key_id, nonce = _HEAD.unpack_from(ct)
        try:
            frame = AESGCM(keyring.key(key_id)).decrypt(nonce, memoryview(ct)[_HEAD.size :], context)
        except InvalidTag:
            raise _damaged(block_id, "it does not authenticate for this tenant, day and row under its key") from None
    elif version == _PLAIN and len(ct) > 1 + _DIGEST_BYTES:
        frame = ct[1 + _DIGEST_BYTES :]
        if _digest(context, frame) != ct[1 : 1 + _DIGEST_BYTES]:
            raise _damaged(block_id, "its digest does not fit this tenant, day and row")
    else:
        raise _damaged(block_id, f"it has no known layout (version {version}, {len(ct)} bytes)")
    return _decompress(block_id, frame)


def _decompress(block_id: bytes, frame: bytes) -> bytes:
    try:
        if zstandard.frame_content_size(frame) > _MAX_RAW_BYTES:
            raise _damaged(block_id, "its frame claims more than 1 GiB")
        return _decompressor().decompress(frame)
    except zstandard.ZstdError as error:
        raise _damaged(block_id, f"its frame does not inflate: {error}") from None


def _context(tenant: str, day: dt.date, block_id: bytes, ids_hash: bytes) -> bytes:
    parts = (b"spanfold block", tenant.encode(), day.isoformat().encode(), block_id, bytes([_SCHEMA]), ids_hash)
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _digest(context: bytes, frame: bytes) -> bytes:
    hashed = blake2b(context, digest_size=_DIGEST_BYTES)
    hashed.update(frame)
    return hashed.digest()


def _damaged(block_id: bytes, why: str) -> BlockDamaged:
    return BlockDamaged(f"content block {block_id.hex()} is damaged: {why}")


def _compressor(level: int) -> zstandard.ZstdCompressor:
    known: dict[int, zstandard.ZstdCompressor] = _local.__dict__.setdefault("compressors", {})
    if level not in known:
        known[level] = zstandard.ZstdCompressor(level=level)
    return known[level]


def _decompressor() -> zstandard.ZstdDecompressor:
    known: zstandard.ZstdDecompressor | None = getattr(_local, "decompressor", None)
    if known is None:
        known = _local.decompressor = zstandard.ZstdDecompressor()
    return known
