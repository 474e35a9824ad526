"""Folded contents to rows: contexts, messages and the content blocks they point into."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from spanfold.exporter.content_writer import ContentWriter, Item, Location
from spanfold.exporter.fold import Folded, Folder, Generations, Node, Words
from spanfold.semconv.schema import CONTEXTS, MESSAGES


class RowWriter:
    """Turns what one tenant's `Folder` found into rows, day by day. Remembers which words a day already holds."""

    def __init__(self, tenant: str, folder: Folder, content: ContentWriter, *, limit: int = 100_000) -> None:
        self._tenant, self._folder, self._content = tenant, folder, content
        self._located: Generations[tuple[dt.date, bytes], Location] = Generations(limit)
        self._beside: Generations[tuple[dt.date, bytes], bool] = Generations(limit)
        self._contexts: list[dict[str, Any]] = []
        self._messages: dict[dt.date, list[dict[str, Any]]] = defaultdict(list)
        self._items: dict[dt.date, dict[bytes, Item]] = defaultdict(dict)

    def add(self, folded: Folded) -> None:
        """Rows of one content whose words are all settled."""
        ends = [node for node in (folded.head, *(folded.output or ())) if node is not None]
        for node in ends:
            self._folder.finish(node)
            self._store_path(node, folded)
        tools_id = self._store_beside(folded.tools, folded)
        system_id = self._store_beside(folded.lead, folded)
        if folded.has_input or tools_id or system_id:
            answer = folded.head.answer if folded.head else None
            self._context(folded, "input", folded.head, 0, folded.count, answer, tools_id, system_id)
        if folded.output is not None:
            first = next((node for node in folded.output if node.words.match is not None), None)
            last = folded.output[-1] if folded.output else folded.head
            self._context(folded, "output", last, folded.count, len(folded.output), first, None, None)

    def _context(
        self, folded: Folded, direction: str, head: Node | None, first: int, count: int, answer: Node | None,
        tools_id: bytes | None, system_id: bytes | None,
    ) -> None:  # fmt: skip
        place = folded.place
        answer = answer if place.is_call else None
        beside = folded.tools.chars if folded.tools and tools_id else 0
        beside += folded.lead.chars if folded.lead and system_id else 0
        self._contexts.append(
            {
                "date": place.date, "tenant": self._tenant, "trace_id": place.trace_id, "span_id": place.span_id,
                "direction": direction,
                "source": folded.source, "revision": folded.revision, "start_time": place.start_time,
                "tools_id": tools_id, "system_id": system_id, "head": head.message_id if head else None,
                "anchors": list(head.anchors) if head else None, "first": first, "count": count,
                "thread_id": head.thread_id if head else None,
                "answer_key": (answer.match_id or None) if answer else None,
                "answer_gram": self._folder.gram_of(answer) if answer else None,
                "answer_position": answer.depth if answer and direction == "input" else None,
                "chars": beside + (head.chars - (folded.head.chars if direction == "output" and folded.head else 0)
                                   if head else 0),
            }
        )  # fmt: skip

    def _store_path(self, node: Node, folded: Folded) -> None:
        day = folded.place.date
        at: Node | None = node
        while at is not None and day not in at.stored:
            at.stored.add(day)
            self._message(at.words, day, {
                "message_id": at.message_id, "content_id": at.words.content_id,
                "parent_id": at.parent.message_id if at.parent and not at.path else None,
                "match_id": None if at.match_id == at.message_id else at.match_id or None,
                "thread_id": at.thread_id, "depth": at.depth, "path": list(at.path),
                "tool_name": self._folder.tools_of(at), "tool_key": at.words.tool_key,
                "first_seen": folded.place.start_time,
            })  # fmt: skip
            at = at.parent

    def _store_beside(self, words: Words | None, folded: Folded) -> bytes | None:
        if words is None:
            return None
        message_id, day = self._folder.place_beside(words), folded.place.date
        if self._beside.get((day, message_id)) is None:
            self._beside.put((day, message_id), True)
            self._message(words, day, {
                "message_id": message_id, "content_id": words.content_id, "parent_id": None, "match_id": None,
                "thread_id": message_id, "depth": -1, "path": [], "first_seen": folded.place.start_time,
            })  # fmt: skip
        return message_id

    def _message(self, words: Words, day: dt.date, row: dict[str, Any]) -> None:
        row |= {"tenant": self._tenant, "role": words.role, "chars": words.chars, "redactions": words.redactions}
        self._messages[day].append(row)
        if self._located.get((day, words.content_id)) is None:
            order = (row["thread_id"], row["depth"])
            self._items[day].setdefault(words.content_id, Item(words.content_id, order, words.body))

    def private(self, day: dt.date, item_id: bytes, body: bytes) -> None:
        """Queues the private JSON of a span or log record beside the day's words."""
        self._items[day].setdefault(item_id, Item(item_id, (b"\xff" * 16, 0), body))

    def where(self, day: dt.date, item_id: bytes) -> Location | None:
        """Where queued words lie, once `tables` has sealed them."""
        return self._located.get((day, item_id))

    def tables(self) -> tuple[dict[str, dict[dt.date, pa.Table]], list[dict[str, Any]]]:
        """Everything added since the last call: (table -> day -> rows sorted as stored, context rows with `date`)."""
        out: dict[str, dict[dt.date, pa.Table]] = {"contexts": {}, "messages": {}, "content": {}}
        sealing: dict[dt.date, Callable[[], pa.Table]] = {}
        for day, items in self._items.items():
            sealing[day], located = self._content.begin(self._tenant, day, items.values())
            for content_id, location in located.items():
                self._located.put((day, content_id), location)
        for day, rows in self._messages.items():
            out["messages"][day] = self._message_table(day, rows)
        by_day: dict[dt.date, list[dict[str, Any]]] = defaultdict(list)
        for row in self._contexts:
            by_day[row["date"]].append(row)
        for day, rows in by_day.items():
            out["contexts"][day] = pa.Table.from_pylist(rows, schema=CONTEXTS)
        out["content"] = {day: table for day, sealed in sealing.items() if (table := sealed()).num_rows}
        contexts, self._contexts = self._contexts, []
        self._messages.clear()
        self._items.clear()
        return out, contexts

    def _message_table(self, day: dt.date, rows: Sequence[dict[str, Any]]) -> pa.Table:
        ordered = sorted(rows, key=lambda row: (row["thread_id"], row["depth"]))
        for row in ordered:
            at = self._located.get((day, row["content_id"]))
            row["block_id"], row["offset"], row["length"] = (at.block_id, at.offset, at.length) if at else (None,) * 3
        return pa.Table.from_pylist(ordered, schema=MESSAGES)
