"""Builds small Parquet lakes by hand: tables of `semconv/schema.py` and a manifest that names their files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spanfold.exporter.manifest import FileEntry, Manifest
from spanfold.semconv.schema import LATENCY_BUCKETS, TABLES

DAY = dt.date(2026, 11, 2)
NOON = dt.datetime(2026, 11, 2, 12, 0)


def message_key(number: int) -> bytes:
    """A made-up 16-byte id."""
    return number.to_bytes(16, "big")


@dataclass(slots=True)
class Lake:
    """A data directory whose lake tables are filled by hand."""

    data: Path
    version: int = 0
    files: list[FileEntry] = field(default_factory=list)

    def add(self, table: str, rows: Sequence[Mapping[str, Any]] | pa.Table, date: dt.date = DAY) -> FileEntry:
        """Writes one file. Rows may leave out columns: they are NULL."""
        schema = TABLES[table]
        if not isinstance(rows, pa.Table):
            unknown = {key for row in rows for key in row} - set(schema.names)
            assert not unknown, f"{table} has no column {unknown}"
            rows = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
        self.version += 1
        path = f"lake/{table}/gen=0/date={date.isoformat()}/{self.version:08d}.parquet"
        target = self.data / path
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, target, compression="zstd", row_group_size=122_880)
        entry = FileEntry(
            table=table, date=date.isoformat(), path=path, rows=rows.num_rows, bytes=target.stat().st_size,
            checksum="", level=0, created=self.version,
        )  # fmt: skip
        self.files.append(entry)
        return entry

    def manifest(self) -> Manifest:
        return Manifest(version=self.version, files=tuple(self.files))


def span(number: int = 1, *, trace: int | None = None, **columns: Any) -> dict[str, Any]:
    """A stored span row: one chat call of one second at noon, with the columns given on top."""
    row = {
        "trace_id": f"{trace if trace is not None else number:032x}", "span_id": f"{number:016x}", "name": "chat gpt-5",
        "kind": "client", "start_time": NOON + dt.timedelta(seconds=number), "start_nanos": 0,
        "duration_ns": 1_000_000_000, "status": "success", "status_code": 0, "tenant": "default",
        "service_name": "shop", "environment": "prod", "project": "web", "operation": "chat", "provider": "openai",
        "request_model": "gpt-5", "response_model": "gpt-5-2025-08-07", "is_candidate": True, "is_container": False,
        "promoted": 0, "received_time": NOON + dt.timedelta(seconds=number + 2), "dialect": "otel-new",
    }  # fmt: skip
    return row | columns


def usage(**tokens: int) -> dict[str, int]:
    """Usage columns from short names: `usage(uncached_input=10)`; totals are filled in."""
    row = {f"{name}_tokens": value for name, value in tokens.items()}
    inputs = ("uncached_input", "cache_read", "cache_write", "cache_write_1h", "audio_input", "image_input")
    outputs = ("text_output", "reasoning", "audio_output")
    for total, parts in (("input_tokens", inputs), ("output_tokens", outputs)):
        known = [tokens[part] for part in parts if part in tokens]
        if known:
            row.setdefault(total, sum(known))
    return row


def chain(length: int) -> list[dict[str, Any]]:
    """Rows of one history of `length` messages whose ids are message_key(0), message_key(1) ..."""
    return [
        {
            "tenant": "default", "message_id": message_key(n), "content_id": message_key(1000 + n % 7), "depth": n,
            "parent_id": message_key(n - 1) if n and n % 16 == 0 else None, "thread_id": message_key(0),
            "path": [message_key(m) for m in range(n - n % 16, n)], "role": ("user", "assistant")[n % 2], "chars": 10,
            "redactions": 0, "first_seen": NOON,
        }
        for n in range(length)
    ]  # fmt: skip


def context(
    number: int, *, depth: int, trace: int | None = None, direction: str = "input", first: int = 0, revision: int = 1,
    system: int | None = None, tools: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A context over `chain`: from depth `first` to the head at `depth`."""
    return {
        "tenant": "default", "trace_id": f"{trace if trace is not None else number:032x}", "span_id": f"{number:016x}",
        "direction": direction, "source": "span", "revision": revision, "start_time": NOON,
        "head": message_key(depth), "anchors": [message_key(n) for n in range(15, depth, 16)], "first": first,
        "count": depth + 1 - first, "thread_id": message_key(0), "chars": 100,
        "system_id": message_key(system) if system else None, "tools_id": message_key(tools) if tools else None,
    }  # fmt: skip


def rollup(
    *, calls: int, hour: int = 0, provider: str = "openai", model: str = "gpt-5", cost: str = "0",
    priced: int | None = None, known: int | None = None, latency: Mapping[int, int] | None = None, **sums: int,
) -> dict[str, Any]:  # fmt: skip
    """A stored rollup row (a delta). `latency`: bucket -> count; by default all calls took about a second."""
    counts = latency if latency is not None else {19: calls}
    priced, known = (calls if value is None else value for value in (priced, known))
    return {
        "hour": NOON.replace(hour=hour), "tenant": "default", "project": "web", "service_name": "shop",
        "environment": "prod", "provider": provider, "model": model, "operation": "chat", "calls": calls, "errors": 0,
        "canceled": 0, "known_input_tokens": known, "known_output_tokens": known, "cost": Decimal(cost),
        "priced_calls": priced, "unpriced_calls": calls - priced, "duration_ms": 1000.0 * calls,
    } | {f"latency_{bucket}": counts.get(bucket, 0) for bucket in range(LATENCY_BUCKETS)} | sums  # fmt: skip


def break_within(path: Path) -> None:
    """Damages a Parquet file so that DuckDB meets an error of its own code when it reads a row, and gives its instance
    up: the compressed size of every column chunk becomes negative."""
    raw = path.read_bytes()
    footer = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    changed = raw[footer:-8]
    with pq.ParquetFile(path) as file:
        group = file.metadata.row_group(0)
        for column in map(group.column, range(group.num_columns)):
            before, size, after = (
                _varint(2 * number) for number in
                (column.total_uncompressed_size, column.total_compressed_size, column.data_page_offset)
            )  # fmt: skip
            negative = _varint(2 * column.total_compressed_size - 1)  # zigzag: odd numbers are negative
            if len(negative) == len(size):
                changed = changed.replace(_sizes(before, size, after), _sizes(before, negative, after))
    assert changed != raw[footer:-8]
    path.write_bytes(raw[:footer] + changed + raw[-8:])


def _sizes(uncompressed: bytes, compressed: bytes, offset: bytes) -> bytes:
    """Three neighbours in the compact Thrift of a column's metadata (fields 6, 7 and 9, all i64)."""
    return b"\x16" + uncompressed + b"\x16" + compressed + b"\x26" + offset


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
