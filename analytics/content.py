"""Unfolds contexts and opens words: chosen spans -> chunks of their chains -> message rows -> distinct blocks, each
decrypted once -> messages in the shape of the newest OTel GenAI schemas.

A message row's words are canonical JSON `{"role": ..., "parts": [...]}`. The row with role `system` holds the stated
instructions in `parts` (`stated: false` = there were none) and leading system messages in `messages`; the row with role
`tools` holds the definitions in `parts`.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import orjson

from spanfold.analytics.statements import Query
from spanfold.exporter.blocks import open_block
from spanfold.exporter.errors import BlockDamaged
from spanfold.exporter.keys import Keyring

SpanKey = tuple[dt.date, str, str, str]  # date, tenant, trace_id, span_id
Home = tuple[dt.date, str]  # date, tenant: what message ids and blocks are unique in
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One message at its place in a context."""

    position: int
    message_id: str  # hex
    role: str
    chars: int
    redactions: int
    is_new: bool  # not known to the call that this one continues; always true for an answer
    body: Row | None  # {"role", "parts", ...}; NULL unless words were asked for


@dataclass(frozen=True, slots=True)
class Context:
    """What one span was given (input) or gave (output)."""

    key: SpanKey
    direction: str
    source: str  # span | span_event | log
    chars: int
    messages: tuple[Message, ...]
    system: Row | None = None  # the words of its system row
    tools: Row | None = None
    system_id: str | None = None
    tools_id: str | None = None

    def as_dict(self) -> Row:
        """JSON-like form: trace and span ids, and the content lists of a call record."""
        return {
            "trace_id": self.key[2], "span_id": self.key[3], "direction": self.direction, "source": self.source,
            "chars": self.chars, "system_id": self.system_id, "tools_id": self.tools_id,
            "system_instructions": instructions(self.system), "tool_definitions": definitions(self.tools),
            "leading": leading(self.system),
            "messages": [
                {"position": m.position, "message_id": m.message_id, "role": m.role, "chars": m.chars,
                 "redactions": m.redactions, "is_new": m.is_new, "message": m.body}
                for m in self.messages
            ],
        }  # fmt: skip


@dataclass(slots=True)
class _Wanted:
    """Ids of one day and tenant."""

    chunks: set[bytes] = field(default_factory=set)
    rows: dict[bytes, Row] = field(default_factory=dict)
    bodies: dict[bytes, Row] = field(default_factory=dict)  # content_id -> words


def instructions(system: Row | None) -> list[Row] | None:
    """`gen_ai.system_instructions`: parts, NULL where none were stated."""
    return None if system is None or system.get("stated") is False else system["parts"]


def leading(system: Row | None) -> list[Row]:
    """System messages that stood at the head of the input."""
    return list(system.get("messages", ())) if system else []


def definitions(tools: Row | None) -> list[Row] | None:
    """`gen_ai.tool.definitions`."""
    return tools["parts"] if tools else None


def contexts(
    cursor: duckdb.DuckDBPyConnection, keyring: Keyring | None, spans: Sequence[SpanKey], *, words: bool
) -> list[Context]:
    """The contexts of these spans. With `words` their texts are opened: raises KeyMissing where they are encrypted and
    the keyring cannot open them."""
    if not spans:
        return []
    wanted_spans = set(spans)
    heads = [row for row in _heads(cursor, spans) if _key(row) in wanted_spans]
    homes: dict[Home, _Wanted] = defaultdict(_Wanted)
    for row in heads:
        homes[row["date"], row["tenant"]].chunks |= set(_chunks(row)) | set(_beside(row))
    for home, wanted in homes.items():
        wanted.rows = _rows(cursor, home, wanted.chunks)
        inner = {message for row in wanted.rows.values() for message in row["path"] or ()} - wanted.rows.keys()
        wanted.rows |= _rows(cursor, home, inner)
        if words:
            wanted.bodies = _bodies(cursor, keyring, home, wanted.rows.values())
    return [_context(row, homes[row["date"], row["tenant"]]) for row in heads]


def message_words(
    cursor: duckdb.DuckDBPyConnection, keyring: Keyring | None, home: Home, message_ids: Iterable[bytes]
) -> dict[bytes, Row]:
    """message_id -> words of chosen messages of one day and tenant; those that are not kept are left out."""
    rows = _rows(cursor, home, message_ids)
    bodies = _bodies(cursor, keyring, home, rows.values())
    return {message_id: bodies[row["content_id"]] for message_id, row in rows.items() if row["content_id"] in bodies}


def private(cursor: duckdb.DuckDBPyConnection, keyring: Keyring | None, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The private JSON objects of spans or logs, in order; {} where a row has none or its block is damaged."""
    homes: dict[Home, list[bytes]] = defaultdict(list)
    for row in rows:
        if row["private_block"]:
            homes[row["date"], row["tenant"]].append(bytes.fromhex(row["private_block"]))
    blocks = {home: dict(_open(cursor, keyring, home, ids)) for home, ids in homes.items()}
    out = []
    for row in rows:
        raw = None
        if row["private_block"]:
            raw = blocks[row["date"], row["tenant"]].get(bytes.fromhex(row["private_block"]))
        start = row["private_offset"] or 0
        out.append(orjson.loads(raw[start : start + row["private_length"]]) if raw else {})
    return out


def _heads(cursor: duckdb.DuckDBPyConnection, spans: Sequence[SpanKey]) -> list[Row]:
    days = [key[0] for key in spans]
    query = Query("contexts_of", trace_ids=sorted({key[2] for key in spans}), first_day=min(days), last_day=max(days))
    found: list[Row] = _fetch(cursor, query)
    found.sort(key=lambda row: (_key(row), row["direction"]))
    return found


def _rows(cursor: duckdb.DuckDBPyConnection, home: Home, ids: Iterable[bytes]) -> dict[bytes, Row]:
    found = _by_ids(cursor, "message_rows", home, ids)
    return {row["message_id"]: row for row in found}


def _bodies(
    cursor: duckdb.DuckDBPyConnection, keyring: Keyring | None, home: Home, rows: Iterable[Row]
) -> dict[bytes, Row]:
    """content_id -> words, every block opened once."""
    places = {row["content_id"]: row["words"] for row in rows}
    elsewhere = [content_id for content_id, place in places.items() if not place or place["block_id"] is None]
    for row in _by_ids(cursor, "words_elsewhere", home, elsewhere):
        places[row["content_id"]] = row["words"]
    by_block: dict[bytes, list[tuple[bytes, int, int]]] = defaultdict(list)
    for content_id, place in places.items():
        if place and place["block_id"] is not None:
            by_block[place["block_id"]].append((content_id, place["offset"], place["length"]))
    bodies = {}
    for block_id, raw in _open(cursor, keyring, home, by_block):
        for content_id, offset, length in by_block[block_id]:
            bodies[content_id] = orjson.loads(raw[offset : offset + length])
    return bodies


def _open(
    cursor: duckdb.DuckDBPyConnection, keyring: Keyring | None, home: Home, ids: Iterable[bytes]
) -> Iterator[tuple[bytes, bytes]]:
    """(block_id, words) of each block that is there and whole. A damaged one is left out: `scrub` reports it."""
    day, tenant = home
    for row in _by_ids(cursor, "content_blocks", home, ids):
        try:
            raw = open_block(
                keyring, tenant=tenant, day=day, block_id=row["block_id"], ids_hash=row["ids_hash"], ct=row["ct"]
            )
        except BlockDamaged:
            continue
        yield row["block_id"], raw


def _by_ids(cursor: duckdb.DuckDBPyConnection, name: str, home: Home, ids: Iterable[bytes]) -> list[Row]:
    chosen = sorted(set(ids))
    if not chosen:
        return []
    return _fetch(cursor, Query(name, day=home[0], tenant=home[1], ids=chosen))


def _fetch(cursor: duckdb.DuckDBPyConnection, query: Query) -> list[Row]:
    rows: list[Row] = cursor.sql(query.text, params=query.parameters).to_arrow_table().to_pylist()
    return rows


def _key(row: Row) -> SpanKey:
    return row["date"], row["tenant"], row["trace_id"], row["span_id"]


def _chunks(row: Row) -> list[bytes]:
    """The rows whose paths make up this context: its anchors from the chunk of its first message on, and its head."""
    if row["head"] is None:
        return []
    return [*(row["anchors"] or ())[row["first"] // 16 :], row["head"]]


def _beside(row: Row) -> list[bytes]:
    return [row[name] for name in ("system_id", "tools_id") if row[name] is not None]


def _context(row: Row, home: _Wanted) -> Context:
    messages = []
    for chunk in _chunks(row):
        end = home.rows.get(chunk)
        if end is None:
            continue
        ids = [*(end["path"] or ()), chunk]
        for depth, message_id in enumerate(ids, end["depth"] - len(ids) + 1):
            if depth >= row["first"]:
                messages.append(_message(row, home, message_id, depth))
    system, tools = (_body(home, row[name]) for name in ("system_id", "tools_id"))
    return Context(
        _key(row), row["direction"], row["source"], row["chars"], tuple(messages), system, tools,
        _hex(row["system_id"]), _hex(row["tools_id"]),
    )  # fmt: skip


def _message(row: Row, home: _Wanted, message_id: bytes, depth: int) -> Message:
    stored = home.rows.get(message_id) or {"role": "unknown", "chars": 0, "redactions": 0}
    new = row["direction"] == "output" or depth >= (row["shared_messages"] or 0)
    return Message(
        depth - row["first"], message_id.hex(), stored["role"], stored["chars"], stored["redactions"], new,
        _body(home, message_id),
    )  # fmt: skip


def _body(home: _Wanted, message_id: bytes | None) -> Row | None:
    row = home.rows.get(message_id) if message_id is not None else None
    return home.bodies.get(row["content_id"]) if row else None


def _hex(value: bytes | None) -> str | None:
    return value.hex() if value is not None else None
