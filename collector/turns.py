"""Content recorded beside the calls of a turn meets those calls, whichever arrives first (semconv/turns.py).

Pieces wait until 5 s of quiet, or a flush; what comes later makes a higher revision of the contexts it changes. Calls
that were stored before are looked up once a trace. Nothing here is durable: the pieces of a turn that is still young
are read again from the journal after a restart (`Manifest.pending`).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from spanfold.exporter.fold import Place
from spanfold.semconv.records import SpanContent
from spanfold.semconv.turns import CallOfTurn, Share, TurnPiece, compose

Trace = tuple[str, str]  # tenant, trace_id


@dataclass(frozen=True, slots=True)
class TurnCall:
    """A call of an emitter that tells turns. `says` are the sides that its own span says."""

    place: Place
    call: CallOfTurn
    says: frozenset[str] = frozenset()

    @property
    def trace(self) -> Trace:
        return self.place.tenant, self.place.trace_id


FindCalls = Callable[[Sequence[Trace]], Sequence[TurnCall]]


@dataclass(slots=True)
class _Turn:
    calls: dict[str, TurnCall] = field(default_factory=dict)
    pieces: dict[bytes, TurnPiece] = field(default_factory=dict)  # by identity of the record
    given: dict[str, tuple[int, int]] = field(default_factory=dict)  # span -> messages heard, parts said
    looked_up: bool = False
    last: float = 0.0  # monotonic seconds of the last change
    position: tuple[int, int] | None = None  # journal position of the first piece


class Turns:
    """Turns by trace. Bounded: those of long ago are forgotten, oldest first."""

    def __init__(
        self, quiet_seconds: float, find: FindCalls, *, young_seconds: float = 60.0, limit: int = 2_000
    ) -> None:
        self._quiet, self._find, self._young, self._limit = quiet_seconds, find, young_seconds, limit
        self._turns: OrderedDict[Trace, _Turn] = OrderedDict()
        self._dirty: set[Trace] = set()

    def call(self, call: TurnCall) -> None:
        """Takes a call of a span batch."""
        turn = self._touched(call.trace)
        turn.calls[call.call.span_id] = call

    def piece(self, tenant: str, identity: bytes, piece: TurnPiece, position: tuple[int, int]) -> None:
        """Takes one piece: its record's identity and journal position."""
        turn = self._turns.get((tenant, piece.trace_id))
        if turn is not None and identity in turn.pieces:
            return
        turn = self._touched((tenant, piece.trace_id))
        turn.pieces[identity] = piece
        turn.position = turn.position or position

    def _touched(self, trace: Trace) -> _Turn:
        turn = self._turns.setdefault(trace, _Turn())
        self._turns.move_to_end(trace)
        turn.last = time.monotonic()
        self._dirty.add(trace)
        return turn

    def ready(self, *, flush: bool) -> list[tuple[Place, SpanContent]]:
        """What the calls of turns heard and said, where waiting is over and something is new."""
        if not self._dirty:
            return []
        now = time.monotonic()
        due = sorted(trace for trace in self._dirty if flush or now - self._turns[trace].last >= self._quiet)
        self._look_up([trace for trace in due if self._turns[trace].pieces and not self._turns[trace].looked_up])
        out: list[tuple[Place, SpanContent]] = []
        for trace in due:
            self._dirty.discard(trace)
            out += self._contents(self._turns[trace])
        while len(self._turns) > self._limit:
            self._dirty.discard(self._turns.popitem(last=False)[0])
        return out

    def _look_up(self, traces: Sequence[Trace]) -> None:
        for found in self._find(traces) if traces else ():
            self._turns[found.trace].calls.setdefault(found.call.span_id, found)
        for trace in traces:
            self._turns[trace].looked_up = True

    def _contents(self, turn: _Turn) -> Iterator[tuple[Place, SpanContent]]:
        shares = compose((call.call for call in turn.calls.values()), list(turn.pieces.values()))
        for span_id, share in shares.items():
            known = (len(share.heard), len(share.said))
            if turn.given.get(span_id) != known:
                turn.given[span_id] = known
                call = turn.calls[span_id]
                content = _content(share, call.says)
                if content is not None:
                    yield call.place, content

    def again(self) -> None:
        """What was handed out may not have been stored: every turn still known is told once more."""
        for trace, turn in self._turns.items():
            turn.given.clear()
            self._dirty.add(trace)

    def oldest(self) -> tuple[int, int] | None:
        """Journal position of the first piece of the turns that may still grow; None if there is none."""
        now = time.monotonic()
        young: list[tuple[int, int]] = []
        for trace, turn in reversed(self._turns.items()):
            if now - turn.last > self._young and trace not in self._dirty:
                break
            if turn.position is not None:
                young.append(turn.position)
        return min(young, default=None)


def _content(share: Share, says: frozenset[str]) -> SpanContent | None:
    heard = share.heard if "input" not in says else []
    said = share.answer if "output" not in says else []
    if not heard and not said:
        return None
    return SpanContent(row=0, source="turn", input=heard or None, output=said or None, pieces=share.revision)


def sides_said(content: SpanContent) -> frozenset[str]:
    """Which of input and output a span's own content says."""
    heard = content.input is not None or content.input_text is not None
    return frozenset((*(["input"] if heard else ()), *(["output"] if content.output is not None else ())))
