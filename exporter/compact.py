"""Compaction: small files become few, and the rows in them what they mean. Size-tiered, from the start.

Eight files of one tier, table and day become one of the next, so every row is written again about log8(n) times and a
day of a million rows stays below 32 files. What a table's rows mean decides how they merge: messages once per id,
contexts and decisions by their highest revision, rollup rows summed. Words that two files stored twice become one when
a day is repacked.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from spanfold.exporter.lake import Lake, read_rows
from spanfold.exporter.manifest import FileEntry, Manifest
from spanfold.semconv.schema import QUALITY, REDACTIONS, ROLLUP, TABLES

FAN_IN = 8
MAX_ROWS = 250_000  # a file this large is not merged again: a merge stays short, and small in memory
MAX_CONTENT_BYTES = 256 * 1024 * 1024
_ROLLUP_KEYS = [
    "hour",
    "tenant",
    "project",
    "service_name",
    "environment",
    "provider",
    "model",
    "operation",
    "key_label",
]


@dataclass(frozen=True, slots=True)
class Merge:
    """Files of one table and day that become one."""

    table: str
    day: dt.date
    files: tuple[FileEntry, ...]

    @property
    def level(self) -> int:
        return max(f.level for f in self.files) + 1


def due(manifest: Manifest, *, everything: bool = False) -> list[Merge]:
    """Merges to make, the fullest first. `everything`: until no two neighbours fit into one file, and none is as it was
    first written."""
    tiers: dict[tuple[str, str, int], list[FileEntry]] = defaultdict(list)
    for file in manifest.files:
        if not _full(file):
            tiers[file.table, file.date, 0 if everything else file.level].append(file)
    out = [
        Merge(table, dt.date.fromisoformat(day), group)
        for (table, day, _), files in tiers.items()
        for group in (_groups(files) if everything else _groups(files)[:1] if len(files) >= FAN_IN else ())
        if len(group) > 1 or (everything and group[0].level == 0 and table != "content")
    ]
    return sorted(out, key=lambda merge: -len(merge.files))


def merge(lake: Lake, work: Merge) -> FileEntry:
    """Prepares the merged file, from any thread; the caller adopts it and commits it in place of the old ones.

    Raises FileDamaged, naming the file, when one of them is not what was written.
    """
    rows = merged_rows(work.table, pa.concat_tables([read_rows(lake.data, file) for file in work.files]))
    return lake.prepare(work.table, work.day, rows, level=work.level)


def merged_rows(table: str, rows: pa.Table) -> pa.Table:
    """The rows of several files of one table and day, as they stand in one."""
    return _MEANING[table](rows) if table in _MEANING else rows


def _full(file: FileEntry) -> bool:
    return file.rows >= MAX_ROWS or (file.table == "content" and file.bytes >= MAX_CONTENT_BYTES)


def _groups(files: Sequence[FileEntry]) -> list[tuple[FileEntry, ...]]:
    """Files, oldest first, in groups that one file may hold."""
    groups: list[list[FileEntry]] = []
    rows = size = 0
    for file in sorted(files, key=lambda f: (f.created, f.path)):
        rows, size = rows + file.rows, size + file.bytes
        if not groups or rows > MAX_ROWS or (file.table == "content" and size > MAX_CONTENT_BYTES):
            groups.append([])
            rows, size = file.rows, file.bytes
        groups[-1].append(file)
    return [tuple(group) for group in groups]


def _by_time(rows: pa.Table) -> pa.Table:
    """Traces stay together (their ids compress against each other), in order of their first span."""
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    order = frame.select(
        pl.col("start_time").min().over("trace_id").alias("first"), "trace_id", "start_time"
    ).with_row_index("row").sort("first", "trace_id", "start_time")["row"]  # fmt: skip
    return rows.take(order.to_arrow())


def _messages(rows: pa.Table) -> pa.Table:
    """One row a message, the one that says where its words lie if any does."""
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    out = (
        frame.sort("tenant", "message_id", pl.col("block_id").is_null(), "first_seen")
        .with_columns(pl.col("first_seen").min().over("tenant", "message_id"))
        .unique(["tenant", "message_id"], keep="first", maintain_order=True)
        .sort("thread_id", "depth")
    )
    return out.to_arrow().cast(TABLES["messages"])


def _highest_revision(keys: list[str]) -> Callable[[pa.Table], pa.Table]:
    def keep(rows: pa.Table) -> pa.Table:
        frame = pl.from_arrow(rows)
        assert isinstance(frame, pl.DataFrame)
        out = frame.sort("revision", maintain_order=True).unique(keys, keep="last", maintain_order=True)
        return out.sort(keys).to_arrow().cast(rows.schema)

    return keep


def _summed(keys: list[str], schema: pa.Schema) -> Callable[[pa.Table], pa.Table]:
    """Equal keys become one row of sums; rows that came to nothing vanish."""
    values = [name for name in schema.names if name not in keys]

    def add(rows: pa.Table) -> pa.Table:
        out = rows.group_by(keys).aggregate([(name, "sum") for name in values])
        out = out.rename_columns([name.removesuffix("_sum") for name in out.column_names]).select(schema.names)
        alive = None
        for name in values:
            some = pc.not_equal(pc.fill_null(out[name], 0), 0)
            alive = some if alive is None else pc.or_(alive, some)
        return out.filter(alive).cast(schema)

    return add


def _quality(rows: pa.Table) -> pa.Table:
    keys = ["tenant", "service_name", "scope_name", "kind", "detail"]
    out = rows.group_by(keys).aggregate(
        [("count", "sum"), ("example_trace_id", "min"), ("example_span_id", "min"), ("first_seen", "min")]
    )
    names = {"count_sum": "count", "example_trace_id_min": "example_trace_id",
             "example_span_id_min": "example_span_id", "first_seen_min": "first_seen"}  # fmt: skip
    return out.rename_columns([names.get(n, n) for n in out.column_names]).select(QUALITY.names).cast(QUALITY)


sum_rollup = _summed(_ROLLUP_KEYS, ROLLUP)

_MEANING: dict[str, Callable[[pa.Table], pa.Table]] = {
    "spans": _by_time,
    "messages": _messages,
    "contexts": _highest_revision(["tenant", "trace_id", "span_id", "direction"]),
    "facts": _highest_revision(["tenant", "trace_id", "span_id", "fact_id"]),
    "suppressed": _highest_revision(["tenant", "trace_id", "span_id"]),
    "links": _highest_revision(["tenant", "trace_id", "span_id"]),
    "rollup": sum_rollup,
    "redactions": _summed(["tenant", "rule", "service_name", "place"], REDACTIONS),
    "quality": _quality,
}
