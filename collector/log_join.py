"""Content that comes in log records meets its span, whichever arrives first, across requests and restarts.

Pieces wait until their span and its answer are there, or 5 s of quiet, or a flush. A piece that comes later makes a
higher revision of the same context, so any order of arrival ends in the same heads. Nothing here is durable: what
still waits when the process ends is read again from the journal (`Manifest.pending`).
"""

from __future__ import annotations

import datetime as dt
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from spanfold.exporter.fold import Place
from spanfold.exporter.lake import EPOCH_DAY, partition_day
from spanfold.semconv.events import LogContent, assemble
from spanfold.semconv.records import SpanContent

Key = tuple[str, str, str]  # tenant, trace_id, span_id
FindPlaces = Callable[[Sequence[Key]], Mapping[Key, Place]]

_SIDES = ("input", "output", "system", "tools")


@dataclass(slots=True)
class _Waiting:
    place: Place | None = None  # the span, once it is there
    own: SpanContent | None = None  # content on the span itself
    pieces: list[LogContent] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)  # identities of pieces: a resent record says nothing new
    last: float = 0.0  # monotonic seconds of the last piece
    position: tuple[int, int] = (0, 0)  # journal position of the first piece not yet written
    fallback: dt.datetime | None = None  # time of the first record: stands in for a span that never comes


class LogJoin:
    """Pieces by span. Bounded: spans and pieces of long ago are forgotten, oldest first.

    `find` looks up stored spans (rarely: for pieces whose span was stored before this process began to listen).
    """

    def __init__(self, quiet_seconds: float, find: FindPlaces, limit: int = 50_000) -> None:
        self._quiet, self._find, self._limit = quiet_seconds, find, limit
        self._waiting: OrderedDict[Key, _Waiting] = OrderedDict()
        self._dirty: dict[Key, _Waiting] = {}
        self.listening = False  # content has come in logs: spans have to be remembered

    def span(self, place: Place, content: SpanContent | None) -> bool:
        """Takes a span; says whether its own content has to wait for log records that came before it."""
        key = (place.tenant, place.trace_id, place.span_id)
        waiting = self._waiting.setdefault(key, _Waiting())
        if waiting.pieces and waiting.place is None:  # they were stored without their span's day and conversation
            self._dirty.setdefault(key, waiting)
        waiting.place, waiting.own = place, content or waiting.own
        return key in self._dirty

    def log(self, tenant: str, identity: bytes, piece: LogContent, at: dt.datetime, position: tuple[int, int]) -> None:
        """Takes one piece: its record's identity, time and journal position."""
        self.listening = True
        key = (tenant, piece.trace_id, piece.span_id)
        waiting = self._waiting.setdefault(key, _Waiting())
        if identity in waiting.seen:
            return
        waiting.seen.add(identity)
        waiting.pieces.append(piece)
        if key not in self._dirty:
            self._dirty[key], waiting.position = waiting, position
        waiting.last = time.monotonic()
        waiting.fallback = min(at, waiting.fallback or at)

    def ready(self, *, flush: bool) -> list[tuple[Place, SpanContent]]:
        """Content whose waiting is over."""
        now, due = time.monotonic(), []
        for key, waiting in self._dirty.items():
            content = _joined(waiting)
            complete = waiting.place is not None and content.output is not None
            if complete or flush or now - waiting.last >= self._quiet:
                due.append((key, waiting, content))
        unknown = [key for key, waiting, _ in due if waiting.place is None]
        found = self._find(unknown) if unknown else {}
        out = []
        for key, waiting, content in due:
            del self._dirty[key]
            waiting.place = waiting.place or found.get(key)
            out.append((waiting.place or _stand_in(key, waiting.fallback), content))
        self._forget()
        return out

    def again(self) -> None:
        """What was handed out may not have been stored: every piece still known waits once more."""
        self._dirty = {key: waiting for key, waiting in self._waiting.items() if waiting.pieces}

    def oldest(self) -> tuple[int, int] | None:
        """Journal position of the first piece that is not yet in the lake; None if nothing waits."""
        return min((w.position for w in self._dirty.values()), default=None)

    def _forget(self) -> None:
        for key in list(self._waiting)[: max(0, len(self._waiting) - self._limit)]:
            if key not in self._dirty:
                del self._waiting[key]


def _joined(waiting: _Waiting) -> SpanContent:
    """The sides of all pieces; where the span says a side itself, the fuller telling wins."""
    content = assemble(waiting.pieces)
    content.pieces = len(waiting.pieces) + 1
    own = waiting.own
    if own is not None:
        content.pieces += own.pieces
        for side in _SIDES:
            if getattr(content, side) is None:
                setattr(content, side, getattr(own, side))
        if content.input is None:
            content.input_text = own.input_text
    return content


def _stand_in(key: Key, at: dt.datetime | None) -> Place:
    start = at or dt.datetime.combine(EPOCH_DAY, dt.time())
    return Place(tenant=key[0], trace_id=key[1], span_id=key[2], date=partition_day(start), start_time=start)
