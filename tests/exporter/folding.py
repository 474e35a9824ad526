"""Folds lists of messages and unfolds them again from the rows alone: the independent inverse for the fold tests."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from spanfold.exporter.blocks import open_block
from spanfold.exporter.content_writer import ContentWriter
from spanfold.exporter.fold import Folder, Place
from spanfold.exporter.fold_rows import RowWriter
from spanfold.exporter.keys import Keyring
from spanfold.semconv.records import SpanContent

DAY = dt.date(2026, 11, 20)
Message = dict[str, Any]


def text(role: str, words: str) -> Message:
    return {"role": role, "parts": [{"type": "text", "content": words}]}


@dataclass
class Lake:
    """Rows in memory instead of files; each `Call` may be folded by a fresh process (`restart`)."""

    directory: Path
    limit: int = 100_000
    tables: dict[str, dict[dt.date, list[pa.Table]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    contexts: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keyring = Keyring.open(self.directory)
        self.restart()

    def restart(self) -> None:
        """Forgets everything that is remembered between chunks."""
        self.folder = Folder(lambda purpose: self.keyring.hash_key("default", purpose), limit=self.limit)
        self.rows = RowWriter("default", self.folder, ContentWriter(self.keyring, "encrypted"), limit=self.limit)

    def fold(self, calls: Sequence[tuple[str, dt.date, SpanContent]]) -> None:
        """One chunk: (span id, day, content) of each span."""
        start = dt.datetime(2026, 11, 20, 12)
        found = [
            self.folder.take(content, Place("default", "t" * 32, span, day, start)) for span, day, content in calls
        ]
        for words in self.folder.fresh():
            self.folder.settle(words, words.raw, 0)
        for item in found:
            self.rows.add(item)
        tables, contexts = self.rows.tables()
        self.contexts += contexts
        for table, days in tables.items():
            for day, rows in days.items():
                self.tables[table][day].append(rows)

    def unfold(self, span: str, direction: str) -> list[Message]:
        """The messages of one context, from the rows of its own day only."""
        context = max(
            (c for c in self.contexts if (c["span_id"], c["direction"]) == (span, direction)),
            key=lambda c: c["revision"],
        )
        rows = {row["message_id"]: row for row in self._rows("messages", context["date"])}
        path: list[bytes] = []
        for end in [*(context["anchors"] or []), *([context["head"]] if context["head"] else [])]:
            path += [*rows[end]["path"], end]
        assert [rows[i]["depth"] for i in path] == list(range(len(path)))
        wanted = path[context["first"] : context["first"] + context["count"]]
        beside = (
            self._read(rows[context["system_id"]], context["date"]).get("messages", []) if context["system_id"] else []
        )
        return [*(beside if direction == "input" else []), *(self._read(rows[i], context["date"]) for i in wanted)]

    def _rows(self, table: str, day: dt.date) -> list[dict[str, Any]]:
        return [row for part in self.tables[table][day] for row in part.to_pylist()]

    def _read(self, row: dict[str, Any], day: dt.date) -> dict[str, Any]:
        block = next(b for b in self._rows("content", day) if b["block_id"] == row["block_id"])
        raw = open_block(
            self.keyring,
            tenant="default",
            day=day,
            block_id=block["block_id"],
            ids_hash=block["ids_hash"],
            ct=block["ct"],
        )
        return orjson.loads(raw[row["offset"] : row["offset"] + row["length"]])

    def stored_bytes(self) -> int:
        """Bytes of words in all blocks, before compression."""
        return sum(
            b["raw_length"] for days in [self.tables["content"]] for day in days for b in self._rows("content", day)
        )

    def message_rows(self) -> int:
        return sum(len(self._rows("messages", day)) for day in self.tables["messages"])
