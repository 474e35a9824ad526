"""What a redaction rule would do to stored data: counts by day, service and place, and a few masked examples.

Nothing is changed. Stored words were redacted when they came, so what is counted is what the rules in force let pass.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from spanfold.exporter.blocks import open_block
from spanfold.exporter.compact import merged_rows
from spanfold.exporter.errors import BlockDamaged
from spanfold.exporter.keys import Keyring
from spanfold.exporter.lake import read_rows
from spanfold.exporter.manifest import Manifest
from spanfold.exporter.redact import Redactor
from spanfold.exporter.redaction_rules import Rule
from spanfold.exporter.repack import PRIVATE

_CLEAR = ("name", "attributes", "attributes_typed", "events", "links", "resource", "tags", "description")
_AROUND = 24  # characters shown on either side of a marker
_AT_ONCE = 5_000  # texts

Place = tuple[str, str | None, str]  # day, service, place: message | private | a column


@dataclass(slots=True)
class Trial:
    """What was looked at and what the rule would replace."""

    hits: Counter[Place] = field(default_factory=Counter)
    texts: Counter[Place] = field(default_factory=Counter)  # in which it would
    looked_at: int = 0
    unopened: int = 0  # blocks that are damaged
    examples: list[str] = field(default_factory=list)


class RuleTrial:
    """Tries one rule on the lake of a data directory."""

    def __init__(self, data: Path, manifest: Manifest, keyring: Keyring, rule: Rule, *, examples: int = 10) -> None:
        self._data, self._manifest, self._keyring, self._rule = data, manifest, keyring, rule
        self._redactor = Redactor([rule])
        self._most = examples
        self.found = Trial()

    def run(self, first: dt.date, last: dt.date) -> Trial:
        """Days `first` to `last`, both included."""
        days = {d for t in ("spans", "logs", "metrics", "messages") for d in self._manifest.dates(t)}
        for day in sorted(day for day in days if first.isoformat() <= day <= last.isoformat()):
            self._columns(day)
            blocks = self._blocks(day)
            for place, rows in self._words(day):
                for chunk in _chunks(rows):
                    self._values(place, day, blocks, chunk)
        return self.found

    # ---- clear columns ---------------------------------------------------------------------------------------------
    def _columns(self, day: str) -> None:
        for table in ("spans", "logs", "metrics"):
            for rows in self._read(table, day):
                for name in (name for name in _CLEAR if name in rows.column_names):
                    self._column(day, name, rows)

    def _column(self, day: str, name: str, rows: pa.Table) -> None:
        column = rows[name]
        if pa.types.is_list(column.type):
            column = pc.binary_join(column, "\n")
        texts = rows.select(["service_name"]).append_column("text", column)
        distinct = (
            texts.filter(pc.is_valid(texts["text"])).group_by(["service_name", "text"]).aggregate([([], "count_all")])
        )
        values = distinct["text"].to_pylist()
        self.found.looked_at += len(values)
        services, counts = distinct["service_name"].to_pylist(), distinct["count_all"].to_pylist()
        for hit, service, count in zip(self._redactor.texts(values), services, counts, strict=True):
            if hit is not None:
                self._count((day, service, name), sum(hit[1].values()) * count, count, hit[0])

    # ---- words -----------------------------------------------------------------------------------------------------
    def _words(self, day: str) -> Iterator[tuple[str, list[tuple[bytes, int, int, str | None]]]]:
        """(place, where texts lie and whose they are), each text once."""
        yield "message", self._messages(day)
        for table in ("spans", "logs", "metrics"):
            for rows in self._read(table, day):
                some = rows.filter(pc.is_valid(rows["private_block"]))
                yield "private", _tuples(some, (*PRIVATE, "service_name"))

    def _messages(self, day: str) -> list[tuple[bytes, int, int, str | None]]:
        parts = list(self._read("messages", day))
        if not parts:
            return []
        rows = merged_rows("messages", pa.concat_tables(parts))
        services = self._services(day, rows)
        located = rows.filter(pc.is_valid(rows["block_id"]))
        places = _tuples(located, ("block_id", "offset", "length", "message_id"))
        return [(block, offset, length, services.get(message)) for block, offset, length, message in places]

    def _services(self, day: str, messages: pa.Table) -> dict[bytes, str | None]:
        """message_id -> the service of a span that held it."""
        of_span = {
            (trace, span): service
            for rows in self._read("spans", day)
            for trace, span, service in _tuples(rows, ("trace_id", "span_id", "service_name"))
        }
        paths = dict(_tuples(messages, ("message_id", "path")))
        out: dict[bytes, str | None] = {}
        wanted = ("trace_id", "span_id", "head", "anchors", "tools_id", "system_id")
        for rows in self._read("contexts", day):
            for trace, span, head, anchors, *beside in _tuples(rows, wanted):
                for end in (head, *(anchors or ()), *beside):
                    if end is not None and end not in out:
                        service = of_span.get((trace, span))
                        out |= {message: service for message in (*(paths.get(end) or ()), end) if message not in out}
        return out

    def _blocks(self, day: str) -> dict[bytes, dict[str, Any]]:
        return {row["block_id"]: row for rows in self._read("content", day) for row in rows.to_pylist()}

    def _values(
        self, place: str, day: str, blocks: dict[bytes, dict[str, Any]],
        rows: Sequence[tuple[bytes, int, int, str | None]],
    ) -> None:  # fmt: skip
        opened: dict[bytes, bytes | None] = {}
        values, services = [], []
        for block, offset, length, service in rows:
            if block not in opened:
                opened[block] = self._open(day, blocks.get(block))
            raw = opened[block]
            if raw is not None:
                values.append(orjson.loads(raw[offset : offset + length]))
                services.append(service)
        self.found.looked_at += len(values)
        for (redacted, counts), service in zip(self._redactor.values(values), services, strict=True):
            if counts:
                self._count((day, service, place), sum(counts.values()), 1, *_strings(redacted))

    def _open(self, day: str, row: dict[str, Any] | None) -> bytes | None:
        try:
            if row is not None:
                return open_block(
                    self._keyring, tenant=row["tenant"], day=dt.date.fromisoformat(day), block_id=row["block_id"],
                    ids_hash=row["ids_hash"], ct=row["ct"],
                )  # fmt: skip
        except BlockDamaged:
            pass
        self.found.unopened += 1
        return None

    def _count(self, place: Place, hits: int, texts: int, *redacted: str) -> None:
        self.found.hits[place] += hits
        self.found.texts[place] += texts
        marker = self._rule.replacement
        for text in redacted:
            if len(self.found.examples) < self._most and (at := text.find(marker)) >= 0:
                before, after = text[max(0, at - _AROUND) : at], text[at + len(marker) :][:_AROUND]
                self.found.examples.append(f"{before}{marker}{after}")

    def _read(self, table: str, day: str) -> Iterator[pa.Table]:
        for file in self._manifest.files_of(table, day):
            yield read_rows(self._data, file)


def _tuples(rows: pa.Table, names: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(rows[name].to_pylist() for name in names), strict=True))


def _chunks(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
