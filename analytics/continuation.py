"""Continuation: which call goes on from which, and the conversation that makes. Found by content, not by ids.

A call continues another when its input passes the other's answer: the last assistant message it holds is that answer
at that place of the history (`answer_key`), or, where the history was cut or summarised, the same last messages
(`answer_gram`). Equal openings without a shared answer stay apart. Where several calls gave the same answer, the one of
the same trace, conversation or session, user and service wins, then the latest that ended before this one began.
"""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_ASKED = 512  # the latest calls with the same answer that are considered


@dataclass(slots=True, eq=False)
class Turn:
    """One call as continuation sees it."""

    tenant: str
    trace_id: str
    span_id: str
    date: dt.date
    start: dt.datetime
    end: dt.datetime
    stated: str | None  # conversation id, else session id, as the sender stated it
    user: str | None
    service: str | None
    said: tuple[bytes | None, bytes | None] = (None, None)  # answer key and gram of its output
    heard: tuple[bytes | None, bytes | None] = (None, None)  # those of the last assistant message of its input
    heard_position: int | None = None
    before: Turn | None = None
    after: list[Turn] = field(default_factory=list)

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.tenant, self.trace_id, self.span_id

    def root(self) -> str:
        """The conversation: the stated id nearest on the way back, else the call that began it."""
        at, seen = self, 0
        while at.stated is None and at.before is not None and seen < 10_000:
            at, seen = at.before, seen + 1
        return at.stated or f"{at.trace_id}/{at.span_id}"


class Continuations:
    """Recent turns and their links; bounded, the oldest forgotten first."""

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._turns: OrderedDict[tuple[str, str, str], Turn] = OrderedDict()
        self._said: dict[tuple[str, int, bytes], list[Turn]] = {}
        self._heard: dict[tuple[str, int, bytes], list[Turn]] = {}

    def get(self, identity: tuple[str, str, str]) -> Turn | None:
        return self._turns.get(identity)

    def update(self, turns: Iterable[Turn]) -> list[Turn]:
        """Takes new or grown turns; gives every turn whose link or conversation may have changed."""
        fresh = list(turns)
        restated = [t for t in fresh if (old := self._turns.get(t.identity)) is not None and old.stated != t.stated]
        for turn in fresh:
            self._index(turn)
        asking = dict.fromkeys(fresh)
        for turn in fresh:  # an answer that came late: those who had heard it ask again
            for key in _keys(turn.tenant, turn.said):
                asking.update((t, None) for t in self._heard.get(key, ()) if t.start > turn.start)
        changed: dict[Turn, None] = {}
        for turn in sorted(asking, key=lambda t: (t.start, t.identity)):
            before = self._find(turn)
            if before is not turn.before:
                self._relink(turn, before)
                changed.update(dict.fromkeys(_with_followers(turn)))
        for turn in restated:  # the conversation of those who go on from it, too
            changed.update((follower, None) for follower in _with_followers(turn) if follower.before)
        changed.update((turn, None) for turn in fresh if turn.before)
        self._forget()
        return list(changed)

    def recall(self, turns: Iterable[tuple[Turn, tuple[str, str] | None]]) -> None:
        """Takes turns, oldest first, with the links that were found when they came."""
        for turn, before in turns:
            self._index(turn)
            if before is not None and (known := self._turns.get((turn.tenant, *before))) is not None:
                self._relink(turn, known)
        self._forget()

    def _index(self, turn: Turn) -> None:
        old = self._turns.pop(turn.identity, None)
        if old is not None and old is not turn:
            turn.before, turn.after = old.before, old.after
            for follower in turn.after:
                follower.before = turn
            if turn.before:
                turn.before.after[:] = [turn if t is old else t for t in turn.before.after]
            self._drop(old)
        self._turns[turn.identity] = turn
        for index, keys in ((self._said, turn.said), (self._heard, turn.heard)):
            for key in _keys(turn.tenant, keys):
                held = index.setdefault(key, [])
                if turn not in held[-4:]:
                    held.append(turn)

    def _find(self, turn: Turn) -> Turn | None:
        for key in _keys(turn.tenant, turn.heard):
            found = [t for t in self._said.get(key, ())[-_ASKED:] if _may_continue(t, turn)]
            if found:
                return max(found, key=lambda t: _kinship(t, turn))
        return None

    def _relink(self, turn: Turn, before: Turn | None) -> None:
        if turn.before is not None:
            turn.before.after = [t for t in turn.before.after if t is not turn]
        turn.before = before
        if before is not None:
            before.after.append(turn)

    def _forget(self) -> None:
        while len(self._turns) > self._limit:
            _, turn = self._turns.popitem(last=False)
            self._drop(turn)

    def _drop(self, turn: Turn) -> None:
        for index, keys in ((self._said, turn.said), (self._heard, turn.heard)):
            for key in _keys(turn.tenant, keys):
                left = [t for t in index.get(key, ()) if t is not turn]
                if left:
                    index[key] = left
                else:
                    index.pop(key, None)


def _may_continue(before: Turn, turn: Turn) -> bool:
    """Only an earlier call, and never one that is known to belong to somebody else."""
    if before is turn or before.start >= turn.start:
        return False
    return not (
        (before.stated and turn.stated and before.stated != turn.stated)
        or (before.user and turn.user and before.user != turn.user)
    )


def _keys(tenant: str, keys: tuple[bytes | None, bytes | None]) -> Iterator[tuple[str, int, bytes]]:
    for kind, key in enumerate(keys):
        if key is not None:
            yield tenant, kind, key


def _kinship(before: Turn, turn: Turn) -> tuple[bool, bool, bool, bool, bool, dt.datetime, str]:
    return (
        before.trace_id == turn.trace_id,
        before.stated is not None and before.stated == turn.stated,
        before.user is not None and before.user == turn.user,
        before.service == turn.service,
        not before.after or turn in before.after,
        before.end if before.end <= turn.start else before.start,
        before.span_id,
    )


def _with_followers(turn: Turn) -> list[Turn]:
    out, todo, seen = [], [turn], set()
    while todo:
        at = todo.pop()
        if id(at) not in seen:
            seen.add(id(at))
            out.append(at)
            todo += at.after
    return out
