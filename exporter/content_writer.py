"""Packs words into encrypted blocks: one tenant and day a block, neighbours of a thread together.

About 64 KiB of words a block when flushed; a text over 64 KiB owns its block, so that reading a small message never
opens a big one. The caller learns where each text lies from `seal`.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from spanfold.exporter.blocks import compress, seal_block
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
        self._compressing = ThreadPoolExecutor(1, thread_name_prefix="compress")

    def seal(self, tenant: str, day: dt.date, items: Iterable[Item]) -> tuple[pa.Table, dict[bytes, Location]]:
        """(rows of the content table, content_id -> location). With mode `none` nothing is stored."""
        table, located = self.begin(tenant, day, items)
        return table(), located

    def begin(
        self, tenant: str, day: dt.date, items: Iterable[Item]
    ) -> tuple[Callable[[], pa.Table], dict[bytes, Location]]:
        """As `seal`, with the rows to be asked for: the words are compressed by another thread meanwhile."""
        rows: dict[str, list[Any]] = {name: [] for name in CONTENT.names}
        located: dict[bytes, Location] = {}
        raws: list[bytes] = []
        for block in self._blocks(sorted(items, key=lambda item: item.order)) if self._mode != "none" else ():
            block_id = os.urandom(16)
            offset = 0
            for item in block:
                located[item.content_id] = Location(block_id, offset, len(item.body))
                offset += len(item.body)
            raws.append(b"".join(item.body for item in block))
            ids_hash = blake2b(b"".join(item.content_id for item in block), digest_size=16).digest()
            for name, value in zip(CONTENT.names, (tenant, block_id, len(block), offset, ids_hash), strict=False):
                rows[name].append(value)
        frames = self._compressing.submit(compress, raws, self._level)

        def table() -> pa.Table:
            for block_id, ids_hash, frame in zip(rows["block_id"], rows["ids_hash"], frames.result(), strict=True):
                rows["ct"].append(
                    seal_block(
                        self._keyring, self._mode, tenant=tenant, day=day, block_id=block_id, ids_hash=ids_hash,
                        frame=frame,
                    )
                )  # fmt: skip
            return pa.table(rows, schema=CONTENT)

        return table, located

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
