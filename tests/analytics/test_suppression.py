"""Which spans are calls: containers, twins, and what a call takes from its twin."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl

from spanfold.analytics.suppression import FILLED, Decision, decide

START = dt.datetime(2026, 11, 20, 12)
TRACE = "a" * 32


def span(span_id: str, parent: str | None = None, **values: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "tenant": "default", "trace_id": TRACE, "span_id": span_id, "parent_span_id": parent, "scope_name": "lib",
        "start_time": START, "duration_ns": 1_000_000_000, "is_candidate": False, "is_container": False,
        "has_content": False,
    }  # fmt: skip
    return base | dict.fromkeys(FILLED) | values


def call(
    span_id: str, parent: str | None = None, tokens: tuple[int, int] | None = (10, 2), **values: Any
) -> dict[str, Any]:
    usage = {"input_tokens": tokens[0], "output_tokens": tokens[1]} if tokens else {}
    return span(span_id, parent, is_candidate=True, request_model="m", **usage, **values)


def later(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"start_time": START + dt.timedelta(milliseconds=1)}


def decided(*spans: dict[str, Any]) -> dict[str, Decision]:
    schema = {"is_candidate": pl.Boolean, "is_container": pl.Boolean, "ttft_ms": pl.Float64, "streaming": pl.Boolean}
    tokens = {name: pl.Int64 for name in FILLED if name.endswith("_tokens")}
    texts = {n: pl.String for n in (*FILLED, "parent_span_id", "scope_name") if n not in tokens and n not in schema}
    frame = pl.DataFrame(list(spans), schema_overrides=schema | tokens | texts)
    return {spans[row]["span_id"]: decision for row, decision in decide(frame).items()}


def test_an_agent_span_is_no_call_while_a_descendant_carries_usage() -> None:
    """agent > http > chat: the agent repeats the chat's usage (fact 1 of the dialects)."""
    found = decided(call("agent", is_container=True), span("http", "agent"), call("chat", "http"))
    assert {"agent": Decision("container", None)} == found


def test_an_agent_span_without_calls_below_is_the_call() -> None:
    assert {} == decided(call("agent", is_container=True), span("tool", "agent"))


def test_of_nested_agents_the_deepest_with_usage_counts() -> None:
    found = decided(call("outer", is_container=True), call("inner", "outer", is_container=True))
    assert {"outer": Decision("container", None)} == found


def test_an_agent_span_without_usage_is_no_call() -> None:
    assert {"agent": Decision("container", None)} == decided(call("agent", is_container=True, tokens=None))


def test_two_spans_with_one_response_id_are_one_call_with_the_best_of_both() -> None:
    """The Anthropic SDK's own span under the instrumentation's span."""
    found = decided(
        call("outer", response_id="msg_1", has_content=True, scope_name="instrumentation"),
        call("inner", "outer", response_id="msg_1", scope_name="sdk", ttft_ms=120.0),
    )
    assert Decision("twin", "outer") == found["inner"]
    assert Decision(None, None, (("ttft_ms", 120.0),)) == found["outer"]


def test_nested_spans_of_different_scopes_with_equal_usage_are_one_call() -> None:
    found = decided(call("outer", scope_name="gateway", session_id="s"), call("inner", "outer", scope_name="sdk"))
    assert {"inner": Decision("twin", "outer")} == found


def test_parallel_calls_of_one_library_with_equal_usage_stay_apart() -> None:
    """Two identical requests at once are two calls and two bills."""
    assert {} == decided(span("root"), call("one", "root"), call("two", "root"))


def test_different_response_ids_are_different_calls_whatever_else_is_equal() -> None:
    assert {} == decided(
        call("outer", response_id="a", scope_name="x"), call("inner", "outer", response_id="b", scope_name="y")
    )


def test_a_span_without_usage_over_one_that_has_it_only_wraps_it() -> None:
    found = decided(call("outer", tokens=None), call("inner", "outer"))
    assert {"outer": Decision("container", None)} == found


def test_two_libraries_telling_of_one_failed_request_are_one_call() -> None:
    """A 429 has neither usage nor id; nested spans of different scopes are the same request."""
    found = decided(
        call("outer", tokens=None, scope_name="a"), later(call("inner", "outer", tokens=None, scope_name="b"))
    )
    assert {"inner": Decision("twin", "outer")} == found


def test_a_call_takes_the_session_that_its_trace_states() -> None:
    """Frameworks state it on the root only; where a trace states two, nothing is taken."""
    assert {"a": Decision(None, None, (("session_id", "s"),))} == decided(
        span("root", session_id="s"), call("a", "root")
    )
    assert {} == decided(span("root", session_id="s"), span("other", session_id="t"), call("a", "root"))


def test_a_cycle_of_parents_ends() -> None:
    """Ids are data: a span may name itself or its child as its parent."""
    found = decided(call("a", "b", is_container=True), call("b", "a", is_container=True), call("c", "c"))
    assert set(found) <= {"a", "b"}
