"""Calls that say only what is new and name their parent: each has its whole history, in whatever order spans come."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanfold.analytics.queries import Reader
from spanfold.exporter.keys import Keyring
from tests.flow.sending import NOON, SECOND, Product, product, span, traces

DAY = dt.date(2025, 11, 20)
ASKED, TOLD, MORE = "Weather in Tokyo?", "70F and sunny", "And tomorrow?"
FIRST, SECOND_ANSWER, THIRD = "I look it up.", "It is sunny.", "Rain."


def llm(number: int, parent: int, new: list[dict[str, str]] | str, answer: str, tokens: tuple[int, int]) -> Span:
    return span(
        1, number, parent, name="LLM Inference", start=NOON + number * SECOND,
        tracebrain__span__type="llm_inference", tracebrain__llm__model="gpt-4o-mini",
        tracebrain__llm__new_content=new if isinstance(new, str) else json.dumps(new),
        tracebrain__llm__completion=answer,
        tracebrain__usage=json.dumps({"prompt_tokens": tokens[0], "completion_tokens": tokens[1],
                                      "total_tokens": sum(tokens)}),
    )  # fmt: skip


def chain() -> dict[int, Span]:
    """request 1 > call 2 > tool 3 > call 4 > a span of another library 5 > call 6."""
    return {
        1: span(1, 1, name="request", start=NOON, ms=9000, tracebrain__span__type="user_request",
                tracebrain__content__new_content=ASKED, tracebrain__episode__id="ep-1",
                tracebrain__content__system_prompt="Be brief."),
        2: llm(2, 1, [{"role": "user", "content": ASKED}], FIRST, (20, 5)),
        3: span(1, 3, 2, name="tool", start=NOON + 3 * SECOND, tracebrain__span__type="tool_execution",
                tracebrain__tool__name="get_weather", tracebrain__tool__input="{'location': 'Tokyo'}",
                tracebrain__tool__output=TOLD),
        4: llm(4, 3, [{"role": "tool", "content": TOLD}], SECOND_ANSWER, (40, 6)),
        5: span(1, 5, 4, name="GET /next", start=NOON + 5 * SECOND),
        6: llm(6, 5, [{"role": "user", "content": MORE}], THIRD, (60, 2)),
    }  # fmt: skip


HISTORIES = {  # what the model was given, by call
    2: [("user", ASKED)],
    4: [("user", ASKED), ("assistant", FIRST), ("tool", TOLD)],
    6: [("user", ASKED), ("assistant", FIRST), ("tool", TOLD), ("assistant", SECOND_ANSWER), ("user", MORE)],
}
ANSWERS = {2: FIRST, 4: SECOND_ANSWER, 6: THIRD}


def words(message: dict[str, Any]) -> str:
    (part,) = message["parts"]
    return str(part.get("content", part.get("response")))


def contexts(p: Product, *numbers: int) -> dict[tuple[int, str], Any]:
    """(span, direction) -> context."""
    keys = [(DAY, "default", f"{1:032x}", f"{n:016x}") for n in numbers]
    found = Reader(p.data, Keyring.open(p.data)).view().messages(keys, words=True)
    return {(int(c.key[3], 16), c.direction): c.as_dict() for c in found}


def histories(p: Product, *numbers: int) -> dict[int, list[tuple[str, str]]]:
    found = contexts(p, *numbers)
    return {
        n: [(m["role"], words(m["message"])) for m in found[n, "input"]["messages"]] for n in numbers
    }  # fmt: skip


def send(p: Product, *groups: list[Span]) -> None:
    for group in groups:
        p.send(traces(group))
        p.fold()


ORDERS = [
    pytest.param([[4, 6], [1, 3], [5, 2]], id="46|13|52"),
    pytest.param([[1, 2, 3, 4, 5, 6]], id="123456", marks=pytest.mark.slow),
    pytest.param([[1], [2], [3], [4], [5], [6]], id="1|2|3|4|5|6", marks=pytest.mark.slow),
    pytest.param([[6], [5], [4], [3], [2], [1]], id="6|5|4|3|2|1", marks=pytest.mark.slow),  # as exporters send
]


@pytest.mark.parametrize("order", ORDERS)
def test_each_call_has_the_history_that_its_parents_said(tmp_path: Path, order: list[list[int]]) -> None:
    """Whatever order: histories, answers, system text and tokens are those of the calls; the second goes on from the
    first (BR-001, BR-002)."""
    spans = chain()
    with product(tmp_path) as p:
        send(p, *([spans[n] for n in group] for group in order))
        assert histories(p, 2, 4, 6) == HISTORIES
        found = contexts(p, 2, 4, 6)
        assert {n: words(found[n, "output"]["messages"][0]["message"]) for n in ANSWERS} == ANSWERS
        assert {found[n, "input"]["source"] for n in ANSWERS} == {"delta"}
        assert {found[n, "input"]["system_instructions"][0]["content"] for n in ANSWERS} == {"Be brief."}
        calls = "span_id, input_tokens, output_tokens, context_messages, new_messages, continues_span_id"
        assert p.query(f"SELECT {calls} FROM calls ORDER BY 1") == [
            (f"{2:016x}", 20, 5, 1, 1, None), (f"{4:016x}", 40, 6, 3, 1, f"{2:016x}"),
            (f"{6:016x}", 60, 2, 5, 1, f"{4:016x}"),
        ]  # fmt: skip


def test_a_missing_link_is_shown_and_healed(tmp_path: Path) -> None:
    """Without the tool span that joins them the later calls begin after the gap and say so; when it comes they are
    whole."""
    spans = chain()
    with product(tmp_path) as p:
        send(p, [spans[n] for n in (1, 2, 4, 5, 6)])
        assert histories(p, 2, 4, 6) == {
            2: HISTORIES[2], 4: [("tool", TOLD)],
            6: [("tool", TOLD), ("assistant", SECOND_ANSWER), ("user", MORE)],
        }  # fmt: skip
        found = contexts(p, 2, 4, 6)
        assert {n: found[n, "input"]["source"] for n in ANSWERS} == {2: "delta", 4: "delta_cut", 6: "delta_cut"}
        send(p, [spans[3]])
        assert histories(p, 4, 6) == {4: HISTORIES[4], 6: HISTORIES[6]}


@pytest.mark.slow
def test_parents_that_go_in_a_circle_end(tmp_path: Path) -> None:
    """Two calls that name each other as parent: both are stored, nothing loops."""
    with product(tmp_path) as p:
        send(p, [llm(2, 4, "one", "a", (1, 1)), llm(4, 2, "two", "b", (1, 1))])
        assert histories(p, 2, 4) == {
            2: [("user", "two"), ("assistant", "b"), ("user", "one")],
            4: [("user", "one"), ("assistant", "a"), ("user", "two")],
        }  # fmt: skip
