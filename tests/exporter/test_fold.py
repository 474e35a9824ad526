"""The fold: inverse, stored once, blind to the order of arrival."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanfold.semconv.records import SpanContent
from tests.exporter.folding import DAY, Lake, Message, text

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
PARTS = st.one_of(
    st.builds(lambda w: {"type": "text", "content": w}, WORDS),
    st.builds(lambda w: {"type": "reasoning", "content": w}, WORDS),
    st.builds(
        lambda n, a: {"type": "tool_call", "id": "c1", "name": n, "arguments": {"q": a}}, st.sampled_from("ab"), WORDS
    ),
    st.builds(lambda w: {"type": "tool_call_response", "id": "c1", "response": w}, WORDS),
)
MESSAGES = st.builds(
    lambda role, parts: {"role": role, "parts": parts},
    st.sampled_from(["user", "assistant", "tool", "system"]),
    st.lists(PARTS, min_size=1, max_size=3),
)
HISTORIES = st.lists(MESSAGES, max_size=40)


def content(history: list[Message], answer: list[Message] | None = None, **beside: Any) -> SpanContent:
    """A call as a sender states it: the history as one JSON text."""
    sent = orjson.dumps(history).decode()
    return SpanContent(row=0, source="span", input_text=sent, output=answer, **beside)


def conversation(turns: int, rng: random.Random, size: int = 300) -> list[tuple[list[Message], Message]]:
    """(history, answer) of each call of one growing conversation."""
    history: list[Message] = []
    calls = []
    for turn in range(turns):
        history = [*history, text("user", f"question {turn} " + words(rng, size))]
        answer = text("assistant", f"answer {turn} " + words(rng, size))
        calls.append((history, answer))
        history = [*history, answer]
    return calls


def words(rng: random.Random, size: int) -> str:
    return " ".join(f"{rng.getrandbits(32):x}" for _ in range(size // 8))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(HISTORIES, st.lists(MESSAGES, max_size=2)), min_size=1, max_size=6), st.booleans())
def test_unfold_is_the_inverse_of_fold(calls: list[tuple[list[Message], list[Message]]], restarts: bool) -> None:
    """Whatever was said comes back exactly, also when every call is folded by a process of its own."""
    with TemporaryDirectory() as directory:
        lake = Lake(Path(directory))
        for i, (history, answer) in enumerate(calls):
            lake.fold([(f"{i:016x}", DAY, content(history, answer))])
            if restarts:
                lake.restart()
        for i, (history, answer) in enumerate(calls):
            assert history == lake.unfold(f"{i:016x}", "input")
            assert answer == lake.unfold(f"{i:016x}", "output")


def test_a_growing_history_is_stored_once(lake: Lake) -> None:
    """Forty calls that resend their history store each message once (BR-001)."""
    calls = conversation(40, random.Random(1))
    for i, (history, answer) in enumerate(calls):
        lake.fold([(f"{i:016x}", DAY, content(history, [answer]))])
    unique = {orjson.dumps(m, option=orjson.OPT_SORT_KEYS) for h, a in calls for m in [*h, a]}
    assert 80 == len(unique) == lake.message_rows()
    assert sum(map(len, unique)) == lake.stored_bytes()
    assert calls[39][0] == lake.unfold(f"{39:016x}", "input")


def test_an_answer_and_its_resending_are_one_message(lake: Lake) -> None:
    (first, answer), (second, _) = conversation(2, random.Random(2))
    lake.fold([("a" * 16, DAY, content(first, [answer])), ("b" * 16, DAY, content(second))])
    said = next(c for c in lake.contexts if c["span_id"] == "a" * 16 and c["direction"] == "output")
    heard = next(c for c in lake.contexts if c["span_id"] == "b" * 16)
    assert said["answer_key"] == heard["answer_key"] is not None
    assert 1 == heard["answer_position"]


def test_a_clock_in_the_system_text_does_not_store_the_conversation_again(lake: Lake) -> None:
    """Only the changing system text is stored anew, wherever it stands."""
    calls = conversation(20, random.Random(3))
    for i, (history, answer) in enumerate(calls):
        lead = text("system", f"You help. It is 12:{i:02d}.")
        lake.fold([(f"{i:016x}", DAY, content([lead, *history], [answer]))])
    beside = 20
    assert 40 + beside == lake.message_rows()
    assert [text("system", "You help. It is 12:07."), *calls[7][0]] == lake.unfold(f"{7:016x}", "input")


@pytest.mark.parametrize("order", ["forward", "backward", "shuffled", "twice"])
def test_the_order_of_arrival_changes_no_id(tmp_path: Path, order: str) -> None:
    """Heads, keys and stored words are the same in any order and with duplicates."""
    calls = list(enumerate(conversation(12, random.Random(4))))
    expected = heads(tmp_path / "a", calls)
    mixed = {
        "forward": calls, "backward": calls[::-1], "twice": calls + calls,
        "shuffled": random.Random(5).sample(calls, len(calls)),
    }[order]  # fmt: skip
    assert expected == heads(tmp_path / "b", mixed, keys=tmp_path / "a")


def heads(path: Path, calls: list[Any], keys: Path | None = None) -> dict[Any, Any]:
    path.mkdir(exist_ok=True)
    if keys is not None:
        (path / "keys").symlink_to(keys / "keys")
    lake = Lake(path)
    for i, (history, answer) in calls:
        lake.fold([(f"{i:016x}", DAY, content(history, [answer]))])
    return {(c["span_id"], c["direction"]): (c["head"], c["answer_key"], c["answer_gram"]) for c in lake.contexts}


def window(history: list[Message], size: int = 20) -> list[Message]:
    return history[-size:]


def cleared(history: list[Message]) -> list[Message]:
    """Old answers blanked, as agents do to save context."""
    return [text(m["role"], "[cleared]") if i < len(history) - 6 and i % 2 else m for i, m in enumerate(history)]


def compacted(history: list[Message]) -> list[Message]:
    return [text("user", "Summary of what was said."), *history[-4:]] if len(history) > 12 else history


def edited(history: list[Message]) -> list[Message]:
    return [text("user", "edited") if i == 3 and len(history) > 10 else m for i, m in enumerate(history)]


@pytest.mark.parametrize("shape", [window, cleared, compacted, edited, list])
def test_histories_that_change_shape_store_little_and_still_continue(lake: Lake, shape: Any) -> None:
    """Sliding windows, cleared results, summaries and edits: exact, at most 1.2x the unique words, links found."""
    calls = conversation(30, random.Random(6))
    sent = [(shape(history), answer) for history, answer in calls]
    for i, (history, answer) in enumerate(sent):
        lake.fold([(f"{i:016x}", DAY, content(history, [answer]))])
    unique = {orjson.dumps(m, option=orjson.OPT_SORT_KEYS) for h, a in sent for m in [*h, a]}
    assert lake.stored_bytes() <= 1.2 * sum(map(len, unique))
    for i, (history, _) in enumerate(sent):
        assert history == lake.unfold(f"{i:016x}", "input")
    said = {c["span_id"]: {c["answer_key"], c["answer_gram"]} for c in lake.contexts if c["direction"] == "output"}
    heard = {c["span_id"]: {c["answer_key"], c["answer_gram"]} for c in lake.contexts if c["direction"] == "input"}
    for i in range(1, 30):
        assert said[f"{i - 1:016x}"] & heard[f"{i:016x}"], i


def test_moving_cache_marks_change_no_id(lake: Lake) -> None:
    """Annotations such as cache_control are not part of a message."""
    for i, (history, answer) in enumerate(conversation(10, random.Random(7))):
        marked = orjson.loads(orjson.dumps(history))
        marked[-1]["parts"][0]["cache_control"] = {"type": "ephemeral"}
        lake.fold([(f"{i:016x}", DAY, content(marked, [answer]))])
    assert 20 == lake.message_rows()


def test_reasoning_that_is_not_resent_still_continues(lake: Lake) -> None:
    """An answer with reasoning and its resending without it match, and both come back as they were."""
    answer = {
        "role": "assistant",
        "parts": [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "Yes."}],
    }
    first = [text("user", "Is it?")]
    second = [*first, text("assistant", "Yes."), text("user", "Sure?")]
    lake.fold([("a" * 16, DAY, content(first, [answer])), ("b" * 16, DAY, content(second))])
    said = next(c for c in lake.contexts if c["span_id"] == "a" * 16 and c["direction"] == "output")
    heard = next(c for c in lake.contexts if c["span_id"] == "b" * 16)
    assert said["answer_key"] == heard["answer_key"]
    assert [answer] == lake.unfold("a" * 16, "output")
    assert second == lake.unfold("b" * 16, "input")


def test_each_day_holds_what_its_contexts_need(lake: Lake) -> None:
    """A conversation over midnight unfolds from the rows of its own day alone."""
    calls = conversation(10, random.Random(8))
    for i, (history, answer) in enumerate(calls):
        lake.fold([(f"{i:016x}", DAY + dt.timedelta(days=i // 5), content(history, [answer]))])
    assert calls[9][0] == lake.unfold(f"{9:016x}", "input")
    assert calls[4][0] == lake.unfold(f"{4:016x}", "input")


def test_equal_openings_without_a_shared_answer_stay_apart(lake: Lake) -> None:
    """A thousand users who say "hi" share one stored message and no link."""
    rng = random.Random(9)
    for i in range(1000):
        lake.fold([(f"{i:016x}", DAY, content([text("user", "hi")], [text("assistant", words(rng, 40))]))])
    assert 1001 == lake.message_rows()
    answers = {c["answer_key"] for c in lake.contexts if c["direction"] == "output"}
    assert 1000 == len(answers)
    assert {None} == {c["answer_key"] for c in lake.contexts if c["direction"] == "input"}


def test_forgetting_costs_space_but_no_truth(tmp_path: Path) -> None:
    """With memory for a handful of messages every context still unfolds exactly."""
    lake = Lake(tmp_path, limit=8)
    calls = conversation(30, random.Random(10))
    for i, (history, answer) in enumerate(calls):
        lake.fold([(f"{i:016x}", DAY, content(history, [answer]))])
    assert calls[29][0] == lake.unfold(f"{29:016x}", "input")


def test_tools_that_change_every_few_calls_are_stored_once_each(lake: Lake) -> None:
    """Tool definitions stand beside the chain."""
    sets = [
        [{"type": "function", "name": f"tool_{k}_{i}", "description": "d" * 200} for i in range(5)] for k in range(3)
    ]
    for i, (history, answer) in enumerate(conversation(12, random.Random(11))):
        lake.fold(
            [
                (
                    f"{i:016x}",
                    DAY,
                    content(history, [answer], tools=sets[i // 4], system=[{"type": "text", "content": "s"}]),
                )
            ]
        )
    assert 24 + 3 + 1 == lake.message_rows()
