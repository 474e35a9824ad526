"""Turns: who heard and said what, told by the times of records that stand beside the calls."""

from __future__ import annotations

from spanfold.semconv.parts import text_part, tool_call, tool_response
from spanfold.semconv.turns import CallOfTurn, TurnPiece, compose

ASKED = {"role": "user", "parts": [text_part("read notes.txt")]}
USED = tool_call("read", {"path": "notes.txt"}, "c1")
GIVEN = {"role": "tool", "parts": [tool_response("buy milk", "c1")]}
ANSWERED = text_part("You need milk.")


def prompt(at: int, span_id: str = "turn") -> TurnPiece:
    return TurnPiece(row=0, trace_id="t", span_id=span_id, time_ns=at, heard=(ASKED,))


def tool(at: int, span_id: str = "turn") -> TurnPiece:
    return TurnPiece(row=0, trace_id="t", span_id=span_id, time_ns=at, said=(USED,), heard=(GIVEN,))


def answer(at: int, span_id: str = "turn") -> TurnPiece:
    return TurnPiece(row=0, trace_id="t", span_id=span_id, time_ns=at, said=(ANSWERED,))


def test_a_call_hears_what_was_said_before_it_and_says_what_comes_until_the_next() -> None:
    """prompt, call, tool, call, answer: the second call heard the prompt, the first call's tool call and its result."""
    calls = [CallOfTurn("second", "turn", 40), CallOfTurn("first", "turn", 20)]
    found = compose(calls, [answer(50), prompt(10), tool(30)])
    assert ([ASKED], [USED]) == (found["first"].heard, found["first"].said)
    used = {"role": "assistant", "parts": [USED]}
    assert ([ASKED, used, GIVEN], [ANSWERED]) == (found["second"].heard, found["second"].said)


def test_words_recorded_at_a_turn_are_not_those_of_calls_elsewhere() -> None:
    """A helper's call below a tool heard something else; where no piece names a parent, all calls share them."""
    calls = [CallOfTurn("call", "turn", 20), CallOfTurn("helper", "tool", 30)]
    assert {"call"} == set(compose(calls, [prompt(10)]))
    shared = compose(calls, [prompt(10, "hook"), answer(50, "hook")])
    assert [ASKED] == shared["call"].heard == shared["helper"].heard
    assert ([], [ANSWERED]) == (shared["call"].said, shared["helper"].said)


def test_more_pieces_make_a_higher_revision() -> None:
    """Whatever arrives later wins over what was stored before it."""
    calls = [CallOfTurn("call", "turn", 20)]
    alone = compose(calls, [prompt(10)])["call"].revision
    assert alone < compose(calls, [prompt(10), tool(30)])["call"].revision
    assert alone < compose([*calls, CallOfTurn("next", "turn", 40)], [prompt(10)])["call"].revision
