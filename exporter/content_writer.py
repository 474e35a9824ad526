"""Packs words into encrypted blocks: one tenant and day a block, neighbours of a thread together.

About 64 KiB of words a block when flushed; a text over 64 KiB owns its block, so that reading a small message never
opens a big one. The caller learns where each text lies from `seal`.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import pyarrow as pa

from spanfold.exporter.blocks import seal_block
from spanfold.exporter.keys import Keyring
from spanfold.semconv.schema import CONTENT

BLOCK_BYTES = 64 * 1024
FLUSH_LEVEL = 3  # zstd level of fresh blocks; compaction packs them again, tighter


@dataclass(frozen=True, slots=True)
class Location:
    """Where a text lies: bytes [offset, offset + length) of the opened block."""

    block_id: bytes
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Item:
    """One text to store: unredacted words never get here."""

    content_id: bytes
    order: tuple[bytes, int]  # (thread_id, depth): what is read together lies together
    body: bytes


class ContentWriter:
    """Seals blocks under the keys of each tenant and day. `mode`: encrypted | plain | none."""

    def __init__(self, keyring: Keyring, mode: str, *, block_bytes: int = BLOCK_BYTES, level: int = FLUSH_LEVEL):
        self._keyring, self._mode, self._block_bytes, self._level = keyring, mode, block_bytes, level

    def seal(self, tenant: str, day: dt.date, items: Iterable[Item]) -> tuple[pa.Table, dict[bytes, Location]]:
        """(rows of the content table, content_id -> location). With mode `none` nothing is stored."""
        if self._mode == "none":
            return pa.Table.from_batches([], CONTENT), {}
        rows: dict[str, list[object]] = {name: [] for name in CONTENT.names}
        located: dict[bytes, Location] = {}
        for block in self._blocks(sorted(items, key=lambda item: item.order)):
            block_id = os.urandom(16)
            offset = 0
            for item in block:
                located[item.content_id] = Location(block_id, offset, len(item.body))
                offset += len(item.body)
            raw = b"".join(item.body for item in block)
            ids_hash = blake2b(b"".join(item.content_id for item in block), digest_size=16).digest()
            ct = seal_block(
                self._keyring, self._mode, tenant=tenant, day=day, block_id=block_id, ids_hash=ids_hash, raw=raw,
                level=self._level,
            )  # fmt: skip
            values = (tenant, block_id, len(block), len(raw), ids_hash, ct)
            for name, value in zip(CONTENT.names, values, strict=True):
                rows[name].append(value)
        return pa.table(rows, schema=CONTENT), located

    def _blocks(self, items: list[Item]) -> Iterable[list[Item]]:
        block: list[Item] = []
        size = 0
        for item in items:
            if len(item.body) > self._block_bytes:
                yield [item]
                continue
            if size + len(item.body) > self._block_bytes and block:
                yield block
                block, size = [], 0
            block.append(item)
            size += len(item.body)
        if block:
            yield block
