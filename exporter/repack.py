"""Repacks the words of one day: each text once, neighbours of a thread together, in larger and tighter blocks.

Fresh blocks are small and hold what one commit brought. A repacked day holds every text once (two commits may have
stored the same words), in blocks of about 256 KiB of zstd-9. Rows that point into blocks (messages, and the private
part of spans, logs and metrics) are written again with the new places, in the same commit.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from spanfold.exporter.blocks import open_block
from spanfold.exporter.compact import merged_rows
from spanfold.exporter.content_writer import ContentWriter, Item, Location
from spanfold.exporter.keys import Keyring
from spanfold.exporter.lake import Lake, read_rows
from spanfold.exporter.manifest import FileEntry
from spanfold.semconv.schema import TABLES

BLOCK_BYTES = 256 * 1024
LEVEL = 9
SLICE_BYTES = 128 * 1024 * 1024  # words held in memory at once
REPACKED = 100  # tier of files that a repack wrote
PRIVATE = ("private_block", "private_offset", "private_length")

Spot = tuple[bytes, int, int]  # block_id, offset, length


@dataclass(slots=True)
class Repacked:
    """Files written and files they stand for; the caller commits both."""

    added: list[FileEntry]
    removed: list[str]


def days_to_repack(lake: Lake) -> list[dt.date]:
    """Days whose words lie in more than what a repack left."""
    fresh = {f.date for f in lake.manifest.files_of("content") if f.level < REPACKED}
    return [dt.date.fromisoformat(day) for day in sorted(fresh)]


def repack(lake: Lake, keyring: Keyring, mode: str, day: dt.date) -> Repacked:
    """Writes the day's content, messages and the rows with private parts again."""
    writer = Repacker(lake, keyring, mode, day)
    messages = merged_rows("messages", writer.read("messages"))
    messages = writer.move(messages, ("block_id", "offset", "length"), "content_id", ("thread_id", "depth"))
    out = {"messages": messages}
    for table in ("spans", "logs", "metrics"):
        rows = writer.read(table)
        if rows.num_rows and rows["private_block"].null_count < rows.num_rows:
            out[table] = writer.move(rows, PRIVATE, None, None)
        else:
            writer.keep(table)
    added = [lake.write(table, day, rows, level=REPACKED) for table, rows in out.items() if rows.num_rows]
    return Repacked([*added, *writer.written], writer.removed)


class Repacker:
    """Reads the rows of a day and puts the texts that they point to into new blocks."""

    def __init__(self, lake: Lake, keyring: Keyring, mode: str, day: dt.date) -> None:
        self._lake, self._keyring, self._day = lake, keyring, day
        self._content = ContentWriter(keyring, mode, block_bytes=BLOCK_BYTES, level=LEVEL)
        self.removed: list[str] = []
        self.written: list[FileEntry] = []
        blocks = self.read("content")
        self._blocks = {row["block_id"]: row for row in blocks.to_pylist()}

    def read(self, table: str) -> pa.Table:
        """All rows of the day; their files count as replaced unless `keep` is said."""
        files = self._lake.manifest.files_of(table, self._day.isoformat())
        self.removed += [f.path for f in files]
        parts = [read_rows(self._lake.data, f) for f in files]
        return pa.concat_tables(parts) if parts else pa.Table.from_batches([], TABLES[table])

    def keep(self, table: str) -> None:
        paths = {f.path for f in self._lake.manifest.files_of(table, self._day.isoformat())}
        self.removed = [path for path in self.removed if path not in paths]

    def move(self, rows: pa.Table, spot: Sequence[str], ids: str | None, order: tuple[str, str] | None) -> pa.Table:
        """The rows with their texts in new blocks. Equal ids (equal places where there are none) move together."""
        columns = [rows[name].to_pylist() for name in spot]
        spots: list[Spot | None] = [tuple(s) if s[0] is not None else None for s in zip(*columns, strict=True)]
        keys = rows[ids].to_pylist() if ids else [_spot_id(s) for s in spots]
        tenants = rows["tenant"].to_pylist()
        orders = list(zip(*(rows[name].to_pylist() for name in order), strict=True)) if order else None
        where: dict[str, dict[bytes, tuple[Spot, Any]]] = defaultdict(dict)
        for row, (at, key, tenant) in enumerate(zip(spots, keys, tenants, strict=True)):
            if at is not None:
                where[tenant].setdefault(key, (at, orders[row] if orders else (b"\xff" * 16, row)))
        located: dict[tuple[str, bytes], Location] = {}
        for tenant, texts in where.items():
            for slice_ in _slices(sorted(texts.items(), key=lambda item: item[1][1])):
                located |= {(tenant, key): at for key, at in self._seal(tenant, slice_).items()}
        new = [located.get((tenant, key)) for tenant, key in zip(tenants, keys, strict=True)]
        values = (
            [at.block_id if at else None for at in new],
            [at.offset if at else None for at in new],
            [at.length if at else None for at in new],
        )
        for name, column in zip(spot, values, strict=True):
            index = rows.schema.get_field_index(name)
            rows = rows.set_column(index, name, pa.array(column, rows.schema.field(index).type))
        return rows

    def _seal(self, tenant: str, texts: Sequence[tuple[bytes, tuple[Spot, Any]]]) -> dict[bytes, Location]:
        opened: dict[bytes, bytes] = {}
        items = []
        for key, ((block_id, offset, length), order) in texts:
            if block_id not in opened:
                opened[block_id] = self._open(tenant, block_id)
            items.append(Item(key, order, opened[block_id][offset : offset + length]))
        table, located = self._content.seal(tenant, self._day, items)
        self.written.append(self._lake.write("content", self._day, table, level=REPACKED))
        return located

    def _open(self, tenant: str, block_id: bytes) -> bytes:
        row = self._blocks[block_id]
        return open_block(
            self._keyring, tenant=tenant, day=self._day, block_id=block_id, ids_hash=row["ids_hash"], ct=row["ct"]
        )


def _spot_id(spot: Spot | None) -> bytes | None:
    return None if spot is None else spot[0] + spot[1].to_bytes(4, "big")


def _slices(texts: Iterable[tuple[bytes, tuple[Spot, Any]]]) -> Iterator[list[tuple[bytes, tuple[Spot, Any]]]]:
    held: list[tuple[bytes, tuple[Spot, Any]]] = []
    size = 0
    for text in texts:
        held.append(text)
        size += text[1][0][2]
        if size >= SLICE_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held
