"""Histories whose beginning an attribute cap took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spanfold.semconv.records import SpanContent
from tests.exporter.folding import DAY, Lake, Message, text

HISTORY = [text("user", "where is my order?"), text("assistant", "which one?"), text("user", "the red one"),
           text("assistant", "on its way"), text("user", "since when?")]  # fmt: skip
ANSWER = text("assistant", "since Monday")
NEXT = [*HISTORY, ANSWER, text("user", "thanks")]


def indexed(history: list[Message], **said: Any) -> SpanContent:
    """A call whose messages are an attribute each."""
    return SpanContent(row=0, source="span", input=history, indexed=True, **said)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.mark.parametrize("lost", [1, 3, 5])
def test_an_earlier_call_of_the_trace_gives_the_lost_beginning(lake: Lake, lost: int) -> None:
    """What arrived continues, word for word and from its place on, a history that is known: the rest is its own."""
    system = text("system", "be brief")
    lake.fold([("a" * 16, DAY, indexed([system, *HISTORY], output=[ANSWER]))])
    lake.fold([("b" * 16, DAY, indexed(NEXT[lost:], lost=lost + 1, output=[text("assistant", "welcome")]))])
    assert lake.unfold("b" * 16, "input") == [system, *NEXT]
    assert [c["source"] for c in lake.contexts if c["span_id"] == "b" * 16] == ["rebuilt", "rebuilt"]
    assert lake.message_rows() == 9  # the system text, seven of the history, the last answer: each stored once


def test_a_message_that_is_cut_itself_is_taken_from_the_earlier_call(lake: Lake) -> None:
    """The first message that arrived lost its role and what stood before it: the earlier call has it whole."""
    lake.fold([("a" * 16, DAY, indexed(HISTORY, output=[ANSWER]))])
    lake.fold([("b" * 16, DAY, indexed([text("assistant", "way"), *NEXT[4:]], lost=4, cut=True))])
    assert lake.unfold("b" * 16, "input") == NEXT


def test_a_rebuilt_history_proves_the_next_one(lake: Lake) -> None:
    """A long run of an agent is rebuilt call by call, each from the one before."""
    lake.fold([("a" * 16, DAY, indexed(HISTORY[:1], output=[HISTORY[1]]))])
    lake.fold([("b" * 16, DAY, indexed(HISTORY[1:3], lost=1, output=[HISTORY[3]]))])
    lake.fold([("c" * 16, DAY, indexed(HISTORY[3:], lost=3))])
    assert lake.unfold("c" * 16, "input") == HISTORY


@pytest.mark.parametrize(
    ("arrived", "lost"),
    [
        ([text("user", "the blue one"), *NEXT[3:]], 2),  # another word
        (NEXT[3:], 2),  # another place
        (NEXT[6:], 6),  # what arrived begins after the end of what is known
        (NEXT[3:5], 3),  # ends before the end of what is known: the earlier call went another way
    ],
)
def test_nothing_is_rebuilt_without_proof(lake: Lake, arrived: list[Message], lost: int) -> None:
    """One word or one place that differs, and only what arrived is stored."""
    lake.fold([("a" * 16, DAY, indexed(HISTORY, output=[ANSWER]))])
    lake.fold([("b" * 16, DAY, indexed(arrived, lost=lost))])
    assert lake.unfold("b" * 16, "input") == arrived
    assert {c["source"] for c in lake.contexts} == {"span"}


def test_a_beginning_that_is_lost_proves_nothing(lake: Lake) -> None:
    """A cut history has other places than a whole one: it is no proof for the next."""
    lake.fold([("a" * 16, DAY, indexed(HISTORY[2:], lost=2))])
    lake.fold([("b" * 16, DAY, indexed([HISTORY[4], ANSWER], lost=2))])
    assert lake.unfold("b" * 16, "input") == [HISTORY[4], ANSWER]
