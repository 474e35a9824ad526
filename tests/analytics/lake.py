"""Builds small Parquet lakes by hand: tables of `semconv/schema.py` and a manifest that names their files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spanfold.exporter.manifest import FileEntry, Manifest
from spanfold.semconv.schema import TABLES

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


def every(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [dict(row) for row in rows]
