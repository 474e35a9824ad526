"""Which spans are calls: containers, twins, and what a call takes from its twin."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl

from spanfold.analytics.suppression import Decision, decide
from spanfold.semconv.schema import FACT_COLUMNS, SPANS

START = dt.datetime(2026, 11, 20, 12)
TRACE = "a" * 32


def span(span_id: str, parent: str | None = None, **values: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "tenant": "default", "trace_id": TRACE, "span_id": span_id, "parent_span_id": parent, "scope_name": "lib",
        "start_time": START, "duration_ns": 1_000_000_000, "is_candidate": False, "is_container": False,
        "has_content": False, "is_fact": False, "service_name": "shop", "status": "success", "reason": None,
        "merged_into": None,
    }  # fmt: skip
    return base | dict.fromkeys(FACT_COLUMNS) | values


def call(
    span_id: str, parent: str | None = None, tokens: tuple[int, int] | None = (10, 2), **values: Any
) -> dict[str, Any]:
    usage = {"input_tokens": tokens[0], "output_tokens": tokens[1]} if tokens else {}
    return span(span_id, parent, is_candidate=True, request_model="m", **usage, **values)


def later(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"start_time": START + dt.timedelta(milliseconds=1)}


def decided(*spans: dict[str, Any]) -> dict[str, Decision]:
    typed: Any = pl.DataFrame(SPANS.empty_table()).schema
    schema = {name: typed[name] for name in (*FACT_COLUMNS, "is_candidate", "is_container")}
    texts = dict.fromkeys(("parent_span_id", "scope_name", "reason", "merged_into"), pl.String)
    frame = pl.DataFrame(list(spans), schema_overrides=schema | texts)
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


def at(milliseconds: int, length: int = 1000) -> dict[str, Any]:
    """Start and duration."""
    start = START + dt.timedelta(milliseconds=milliseconds)
    return {"start_time": start, "duration_ns": length * 1_000_000}


def test_a_span_whose_usage_is_the_sum_of_the_calls_below_is_no_call() -> None:
    """It calls itself a chat, but its numbers repeat its two calls (proven by the numbers)."""
    below = [call("one", "outer", (10, 2)), call("two", "outer", (30, 4))]
    assert {"outer": Decision("container", None)} == decided(call("outer", None, (40, 6)), *below)
    assert {} == decided(call("outer", None, (41, 6)), *below)


def test_an_id_that_one_library_states_again_later_is_another_call() -> None:
    """A cached reply or a mock in one trace: equal ids one after the other; overlapping ones are one call."""
    assert {} == decided(
        call("first", response_id="mock", **at(0, 100)), call("second", response_id="mock", **at(200, 100))
    )
    found = decided(call("first", response_id="x", **at(0, 300)), call("second", response_id="x", **at(200, 300)))
    assert {"second": Decision("twin", "first")} == found


def test_attempts_of_a_failed_request_are_calls_and_its_own_span_is_the_last_of_them() -> None:
    """An instrumentation's span beside the SDK's spans of two attempts within its time: two real requests."""
    failed = {"tokens": None, "status": "error"}
    found = decided(
        span("root"),
        call("outer", "root", scope_name="instrumentation", has_content=True, **failed, **at(0, 1000)),
        call("try1", "root", scope_name="sdk", **failed, **at(100, 200)),
        call("try2", "root", scope_name="sdk", **failed, **at(500, 200)),
    )
    assert {"try1": Decision("twin", "outer")} == found


def test_a_gateways_trace_of_the_same_answer_counts_once() -> None:
    """The gateway and its client tell of one response in two traces at one time."""
    gateway = {"trace_id": "b" * 32, "service_name": "gateway", "scope_name": "litellm"}
    found = decided(
        call("client", response_id="r", has_content=True, **at(0)),
        call("mirror", response_id="r", ttft_ms=9.0, **gateway, **at(100, 500)),
    )
    assert {"mirror": Decision("mirror", "client"), "client": Decision(None, None, (("ttft_ms", 9.0),))} == found


def test_a_cached_reply_in_another_trace_is_a_call_of_its_own() -> None:
    """Later, or by the same library at the same time, or with other usage: no mirror."""
    other = {"trace_id": "b" * 32, "response_id": "r"}
    for second in (
        call("two", service_name="gateway", **other, **at(60_000)),
        call("two", **other, **at(100)),
        call("two", None, (11, 2), service_name="gateway", **other, **at(100)),
    ):
        assert {} == decided(call("one", response_id="r", **at(0)), second)


def test_a_mirror_whose_other_trace_is_not_at_hand_stays_one() -> None:
    """Deciding again about one of the two traces alone counts nothing twice."""
    stored = call("mirror", response_id="r", reason="mirror", merged_into="client")
    assert {"mirror": Decision("mirror", "client")} == decided(stored)


def test_a_finer_split_of_equal_usage_is_taken_whole() -> None:
    """One twin knows 12 of its 20 input tokens were read from the cache: the other's 20 uncached ones are replaced."""
    found = decided(
        call("outer", None, (20, 2), response_id="r", has_content=True, uncached_input_tokens=20),
        call("inner", "outer", (20, 2), response_id="r", uncached_input_tokens=8, cache_read_tokens=12),
    )
    fills = dict(found["outer"].fills)
    assert {"uncached_input_tokens": 8, "cache_read_tokens": 12} == fills


def test_a_total_that_differs_gives_no_part_of_its_split() -> None:
    """Buckets of another total would not add up."""
    found = decided(
        call("outer", None, (20, 2), response_id="r", has_content=True),
        call("inner", "outer", (35, 2), response_id="r", cache_read_tokens=12),
    )
    assert {"inner": Decision("twin", "outer")} == found


def test_of_a_stream_the_inner_twin_knows_the_output() -> None:
    """The wrapper added the first chunk's count to the last one's, which already is the whole: 88 + 1. The SDK's own
    span lies within it. A twin that lies around, or that knows less of the split, changes nothing."""
    wrapper = call("outer", None, (58, 89), response_id="r", has_content=True, text_output_tokens=89, **at(0, 110))
    inner = call("inner", None, (58, 88), response_id="r", scope_name="sdk", text_output_tokens=88, **at(1, 108))
    found = decided(wrapper, inner)
    assert Decision("twin", "outer") == found["inner"]
    assert {"output_tokens": 88, "text_output_tokens": 88} == dict(found["outer"].fills)
    for other in (inner | at(1, 120), inner | {"text_output_tokens": None}):
        assert {"inner": Decision("twin", "outer")} == decided(wrapper, other)


def test_the_model_that_answered_is_told_by_the_twin_that_knows_it() -> None:
    """A span that repeats the alias it asked for takes the dated name from the SDK's own span; other names stay."""
    outer = call("outer", scope_name="a", has_content=True, response_model="m")
    found = decided(outer, call("inner", "outer", scope_name="b", response_model="m-2025-09-29"))
    assert {"outer": Decision(None, None, (("response_model", "m-2025-09-29"),))} | {
        "inner": Decision("twin", "outer")
    } == found
    other = decided(outer, call("inner", "outer", scope_name="b", response_model="n-1"))
    assert other == {"inner": Decision("twin", "outer")}


def fact(span_id: str, recorded_at: str, **values: Any) -> dict[str, Any]:
    return span(span_id, recorded_at, is_fact=True, **values)


def test_what_a_log_record_states_is_its_spans() -> None:
    """Also where that span was merged into another."""
    assert {"one": Decision(None, None, (("response_model", "m-1"),))} == decided(
        call("one", tokens=None), fact("f", "one", response_model="m-1")
    )
    found = decided(
        call("outer", response_id="r", has_content=True), call("inner", "outer", response_id="r"),
        fact("f", "inner", finish_reasons=["stop"]),
    )  # fmt: skip
    assert (("finish_reasons", ["stop"]),) == found["outer"].fills


def test_what_is_recorded_around_calls_is_given_to_the_call_with_its_usage() -> None:
    """Claude Code's api_request records stand at the turn; each names the model of one of its calls."""
    spans = (
        span("turn"), call("one", "turn", (10, 2), **at(0)), call("two", "turn", (30, 4), **at(2000)),
        fact("f", "turn", response_model="m-1", input_tokens=30, output_tokens=4, **at(3001)),
    )  # fmt: skip
    assert {"two": Decision(None, None, (("response_model", "m-1"),))} == decided(*spans)
    assert {} == decided(*spans[:3], fact("f", "turn", response_model="m-1"))


def test_two_records_of_equal_usage_tell_of_two_calls() -> None:
    """Nearest in time first."""
    found = decided(
        span("turn"), call("one", "turn", **at(0)), call("two", "turn", **at(2000)),
        fact("f1", "turn", response_model="m-1", input_tokens=10, output_tokens=2, **at(1001, 0)),
        fact("f2", "turn", response_model="m-2", input_tokens=10, output_tokens=2, **at(3001, 0)),
    )  # fmt: skip
    assert ["m-1", "m-2"] == [dict(found[name].fills)["response_model"] for name in ("one", "two")]


def test_a_call_without_a_model_takes_the_one_requested_above_it() -> None:
    """Codex names it on the spans around the one that carries usage."""
    nameless = call("call", "middle") | {"request_model": None}
    found = decided(span("root", request_model="far"), span("middle", "root", request_model="near"), nameless)
    assert {"call": Decision(None, None, (("request_model", "near"),))} == found
