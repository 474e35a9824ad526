"""Continuation links: found where they exist and nowhere else, in any order of arrival."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest

from spanfold.analytics.continuation import Continuations, Turn

START = dt.datetime(2026, 11, 20, 12)


def turn(name: str, minute: int, *, said: bytes | None = None, heard: bytes | None = None, **values: Any) -> Turn:
    start = START + dt.timedelta(minutes=minute)
    facts: dict[str, Any] = {"stated": None, "user": None, "service": "s"} | values
    return Turn(
        "default", name * 32, name * 16, date=start.date(), start=start, end=start + dt.timedelta(seconds=5),
        said=(said, None), heard=(heard, None), heard_position=1 if heard else None, **facts,
    )  # fmt: skip


def chain() -> list[Turn]:
    return [turn("a", 0, said=b"1"), turn("b", 1, heard=b"1", said=b"2"), turn("c", 2, heard=b"2", said=b"3")]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_chain_is_found_in_any_order_of_arrival(order: tuple[int, ...]) -> None:
    """One call at a time, in every order: the same links and one conversation."""
    turns, continuations = chain(), Continuations()
    for i in order:
        continuations.update([turns[i]])
    a, b, c = turns
    assert (None, a, b) == (a.before, b.before, c.before)
    assert {f"{a.trace_id}/{a.span_id}"} == {t.root() for t in turns}


def test_everyone_who_continues_is_told_when_the_beginning_comes_late() -> None:
    a, b, c = chain()
    continuations = Continuations()
    continuations.update([b, c])
    assert {b, c} == set(continuations.update([a]))


def test_the_same_answer_to_two_users_does_not_mix_them() -> None:
    """A thousand users say "hi" and hear "Hello!": each goes on from the answer in its own session."""
    first = [turn(chr(97 + i), i, said=b"hello", stated=f"session-{i}") for i in range(20)]
    second = [turn(chr(65 + i), 30 + i, heard=b"hello", stated=f"session-{i}") for i in range(20)]
    Continuations().update([*second, *first])
    assert first == [t.before for t in second]


def test_a_call_of_another_user_or_session_is_never_continued() -> None:
    a = turn("a", 0, said=b"1", stated="x", user="u")
    b, c = turn("b", 1, heard=b"1", stated="y"), turn("c", 1, heard=b"1", user="v")
    Continuations().update([a, b, c])
    assert (None, None) == (b.before, c.before)


def test_nothing_continues_a_later_call() -> None:
    a, b = turn("a", 5, said=b"1"), turn("b", 1, heard=b"1")
    Continuations().update([a, b])
    assert b.before is None


def test_a_fork_has_two_followers_of_one_call() -> None:
    a, b, c = turn("a", 0, said=b"1"), turn("b", 1, heard=b"1"), turn("c", 2, heard=b"1")
    Continuations().update([a, b, c])
    assert (a, a) == (b.before, c.before)
    assert [b, c] == a.after


def test_a_stated_conversation_names_it() -> None:
    a, b = turn("a", 0, said=b"1", stated="conversation-7"), turn("b", 1, heard=b"1")
    Continuations().update([a, b])
    assert "conversation-7" == b.root()


def test_memory_is_bounded() -> None:
    continuations = Continuations(limit=10)
    for i in range(100):
        continuations.update([turn(chr(100 + i), i, said=bytes([i]), heard=bytes([i - 1]) if i else None)])
    assert 10 == len(continuations._turns)
    assert len(continuations._said) <= 10
    assert len(continuations._heard) <= 10
