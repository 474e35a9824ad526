"""What the components are given: trees, transcripts, numbers in words."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from spanfold.dashboard import formatting, span_tree, transcripts
from spanfold.dashboard.thumbnails import Easel

START = dt.datetime(2025, 11, 20, 12)


def row(ident: str, parent: str | None, at: int = 0, **more: Any) -> dict[str, Any]:
    known = {
        "span_id": ident, "parent_span_id": parent, "start_time": START + dt.timedelta(seconds=at), "duration_ms": 10.0,
        "name": ident, "operation": None, "is_call": False, "agent_name": None, "ttft_ms": None, "input_tokens": None,
        "output_tokens": None, "model": None, "tool_name": None, "service_name": None, "error_type": None,
        "status": "success", "cost": None, "price_confidence": None, "suppressed_reason": None, "truncated": False,
        "orphan": False,
    }  # fmt: skip
    return known | more


def call(ident: str, parent: str | None, cost: float | None, at: int = 0) -> dict[str, Any]:
    confidence = "exact" if cost is not None else "unpriced"
    return row(
        ident, parent, at, is_call=True, operation="chat", cost=cost, price_confidence=confidence, input_tokens=10
    )


def test_parents_sum_their_calls_once() -> None:
    """A parent shows what the calls below it cost; a call shows its own, and what has no price is a dash."""
    tree = span_tree.columns(
        [
            row("root", None),
            row("agent", "root", 1),
            call("a", "agent", 0.25, 2),
            call("b", "agent", 0.5, 3),
            call("c", "root", None, 4),
        ]
    )
    assert dict(zip(tree["id"], tree["cost"], strict=True)) == {
        "root": "$0.750",
        "agent": "$0.750",
        "a": "$0.250",
        "b": "$0.500",
        "c": "–",
    }
    assert tree["tokens"][0] == "30"


def test_rings_of_parents_still_show() -> None:
    """Spans that name each other as parents are drawn once each."""
    tree = span_tree.columns([row("a", "b"), row("b", "a"), row("self", "self")])
    assert sorted(tree["id"]) == ["a", "b", "self"]


@given(some.lists(some.integers(0, 14), min_size=1, max_size=14))
def test_every_span_stands_once_below_its_parent(parents: list[int]) -> None:
    """Whatever the tree looks like, each span is drawn once, and after the parent that it names."""
    rows = [row(f"s{at}", None if parent == at else f"s{parent}", at) for at, parent in enumerate(parents)]
    tree = span_tree.columns(rows)
    place = {ident: at for at, ident in enumerate(tree["id"])}
    assert len(place) == len(tree["id"])
    assert place.keys() >= {r["span_id"] for r in rows}
    for ident, parent, depth in zip(tree["id"], tree["parent"], tree["depth"], strict=True):
        if parent is not None:
            assert place[parent] < place[ident]
            assert tree["depth"][place[parent]] == depth - 1
    assert len({len(column) for column in tree.values()}) == 1


def context(*messages: tuple[str, bool, list[dict[str, Any]]], system: str | None = None) -> dict[str, Any]:
    return {
        "system_instructions": [{"type": "text", "content": system}] if system else None,
        "leading": [], "tool_definitions": None,
        "messages": [
            {"position": at, "role": role, "is_new": new, "redactions": 0, "chars": 1,
             "message": {"role": role, "parts": parts}}
            for at, (role, new, parts) in enumerate(messages)
        ],
    }  # fmt: skip


def say(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "content": text}]


def test_new_first_repeats_folded() -> None:
    """History is one line until it is asked for; then it is there."""
    asked = context(("user", False, say("old")), ("user", True, say("new")), system="Be kind.")
    items = transcripts.of_call(asked, None, prefix="x.", opened=())
    assert [(item["type"], item.get("label")) for item in items] == [
        ("fold", "System text, 8 characters"), ("fold", "1 repeated message"), ("message", None),
    ]  # fmt: skip
    opened = transcripts.of_call(asked, None, prefix="x.", opened=("x.history",))
    assert opened[1]["items"][0]["parts"][0]["text"] == "old"


@pytest.mark.parametrize(
    ("part", "label", "text"),
    [
        ({"type": "tool_call", "id": "c1", "name": "f", "arguments": '{"a":1}'}, "f()", '{\n  "a": 1\n}'),
        ({"type": "tool_call_response", "id": "c1", "response": '"two\\nlines"'}, "Result", "two\nlines"),
        ({"type": "tool_call_response", "id": "c1", "response": "{not json"}, "Result", "{not json"),
        ({"type": "reasoning", "content": "hm"}, "Reasoning", "hm"),
        ({"type": "uri", "modality": "image", "uri": "https://x/y.png"}, "image", "https://x/y.png"),
        ({"type": "blob", "modality": "image", "mime_type": "image/png", "content": "QUJD"}, "image image/png", ""),
        ({"type": "house_special", "x": 1}, "house_special", '{\n  "x": 1\n}'),
        ({}, "part", "{}"),
    ],
)  # fmt: skip
def test_parts(part: dict[str, Any], label: str, text: str) -> None:
    """Every part of the schemas has a form, JSON inside strings is opened, the unknown is shown as it is."""
    item = transcripts.part(part, "p", (), Easel())
    assert (item["label"], item["text"]) == (label, text)


def test_large_parts_wait() -> None:
    """Of a part over 64 KiB the browser gets a peek and its size, and all of it when asked."""
    part = {"type": "text", "content": "x" * 100_000}
    item = transcripts.part(part, "p", (), Easel())
    assert (len(item["text"]), item["rest"]) == (transcripts.PEEK, "Show all 100k characters")
    assert len(transcripts.part(part, "p", ("p",), Easel())["text"]) == 100_000


def test_words_that_cannot_be_opened() -> None:
    """Without the key a message says its size and why its words are missing."""
    asked = context(("user", True, []))
    asked["messages"][0] |= {"message": None, "chars": 12}
    (item,) = transcripts.of_call(asked, None, prefix="", opened=())
    assert item["note"] == f"12 characters. {transcripts.CLOSED}"


@given(some.text(max_size=300), some.text(max_size=300))
def test_difference_loses_nothing(before: str, after: str) -> None:
    """The runs of a diff spell both texts, but for the middle of long unchanged runs."""
    runs = transcripts.difference("t", before, after)["runs"]
    if any(" … " in text for kind, text in runs if kind == "same"):
        return
    assert "".join(text for kind, text in runs if kind != "add") == before
    assert "".join(text for kind, text in runs if kind != "drop") == after


def test_one_line() -> None:
    """The first words are the last user message, on one line."""
    asked = context(("user", False, say("one")), ("user", True, say("two\n  lines")), ("tool", True, []))
    assert transcripts.one_line(asked, "user") == "two lines"
    assert transcripts.one_line(None, "user") == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "$0.00"), (0.0000001, "<$0.000001"), (0.00052875, "$0.000529"), (0.0123, "$0.0123"),
     (0.25, "$0.250"), (4.5, "$4.50"), (-3.1, "-$3.10"), (12345.6, "$12,346")],
)  # fmt: skip
def test_money(value: float | None, text: str) -> None:
    """Money shows the digits that matter, and unknown is not 0."""
    assert formatting.money(value) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(None, "–"), (0.5, "0.50 ms"), (999, "999 ms"), (1500, "1.50 s"), (90_000, "1.5 min"), (7.2e6, "2.0 h")],
)
def test_duration(ms: float | None, text: str) -> None:
    """Durations from microseconds to days."""
    assert formatting.duration(ms) == text


def test_times_are_shown_in_the_chosen_zone() -> None:
    """A stored time is UTC; today's day is left out."""
    assert formatting.when(START, "UTC", START.date()) == "12:00:00"
    assert formatting.when(START, "Asia/Tokyo", START.date()) == "21:00:00"
    assert formatting.when(START, "America/New_York") == "20 Nov 07:00:00"


def test_component_data_is_json() -> None:
    """What goes to the browser can be written as JSON, whatever the sender called things."""
    tree = span_tree.columns(
        [row("\x00", None, name=None, operation="\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"))]
    )
    assert json.loads(json.dumps(tree))["name"] == ["😀"]
