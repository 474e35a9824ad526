"""What spans and log records mean, by the newest conventions and their older generations."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spanfold.collector.decode import decode_logs, decode_spans
from spanfold.semconv.messages import parse_messages
from spanfold.semconv.normalise import Normalised, assemble, normalise_logs, normalise_spans
from spanfold.semconv.records import SpanContent
from spanfold.semconv.schema import SPANS
from tests.semconv.otlp import any_value, captured, key_values, log_request, span, trace_request, trace_requests

MEANING = {
    "dialect", "operation", "provider", "request_model", "response_model", "response_id", "agent_name", "tool_name",
    "tool_call_id", "session_id", "conversation_id", "user_id", "tags", "is_candidate", "is_container",
    "input_tokens", "output_tokens", "uncached_input_tokens", "cache_read_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "audio_input_tokens", "image_input_tokens", "text_output_tokens", "reasoning_tokens",
    "audio_output_tokens", "web_searches", "usage_verdict", "estimated_output_tokens",
    "service_tier", "streaming", "ttft_ms",
    "finish_reasons", "status", "error_type", "prompt_fingerprint", "prompt_name", "prompt_version", "truncated",
    "service_name", "service_version", "environment", "project", "key_label",
}  # fmt: skip


def normalised(*spans: Span, resource: dict[str, Any] | None = None, **scope: Any) -> Normalised:
    return normalise_spans(decode_spans([trace_request(*spans, resource=resource, **scope)]))


def row(found: Normalised, at: int = 0) -> dict[str, Any]:
    """The columns of one span that are not NULL."""
    values = {name: array[at].as_py() for name, array in found.fields.items()}
    return {name: value for name, value in values.items() if value is not None}


def sides(content: SpanContent) -> dict[str, Any]:
    """Every side that is there, the input parsed."""
    told = content.input if content.input_text is None else parse_messages(content.input_text)[0]
    found = {"input": told, "output": content.output, "system": content.system, "tools": content.tools}
    return {side: value for side, value in found.items() if value is not None}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


USER = {"role": "user", "parts": [text("Hi")]}
SAID = {"role": "assistant", "parts": [text("Hello")]}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini"}


def test_a_call_of_the_newest_conventions_fills_every_column() -> None:
    """All columns of a conforming inference span, usage in disjoint buckets."""
    attributes = CHAT | {
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18", "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["stop"], "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 30, "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.cache_write.input_tokens": 10, "gen_ai.usage.reasoning.output_tokens": 12,
        "gen_ai.request.stream": True, "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.conversation.id": "conv-1", "gen_ai.agent.name": "planner", "gen_ai.prompt.name": "greet",
        "gen_ai.prompt.version": "3", "openai.response.service_tier": "flex", "session.id": "s-1", "user.id": "u-1",
        "tag.tags": ["a", "b"], "spanfold.key": "prod",
    }  # fmt: skip
    resource = {"service.name": "shop", "service.version": "1.4", "deployment.environment.name": "staging"}
    found = row(normalised(span(attributes), resource=resource))
    fingerprint = found.pop("prompt_fingerprint")
    assert fingerprint.startswith("p_")
    assert found == {
        "dialect": "otel-new", "operation": "chat", "provider": "openai", "request_model": "gpt-4o-mini",
        "response_model": "gpt-4o-mini-2024-07-18", "response_id": "chatcmpl-1", "finish_reasons": ["stop"],
        "input_tokens": 100, "output_tokens": 30, "uncached_input_tokens": 50, "cache_read_tokens": 40,
        "cache_write_tokens": 10, "reasoning_tokens": 12, "text_output_tokens": 18,
        "usage_verdict": "stated:inclusive", "streaming": True, "ttft_ms": 250.0, "conversation_id": "conv-1",
        "agent_name": "planner", "prompt_name": "greet", "prompt_version": "3", "service_tier": "flex",
        "session_id": "s-1", "user_id": "u-1", "tags": ["a", "b"], "key_label": "prod", "is_candidate": True,
        "is_container": False, "status": "success", "truncated": False, "service_name": "shop",
        "service_version": "1.4", "environment": "staging", "project": "shop",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "usage", "candidate", "container"),
    [
        ("chat", False, True, False), ("generate_content", False, True, False), ("text_completion", True, True, False),
        ("embeddings", False, True, False), ("retrieval", True, False, False), ("fetch_response", True, False, False),
        ("search_memory", True, False, False), ("create_memory", False, False, False),
        ("create_agent", False, False, True), ("invoke_agent", False, False, True), ("invoke_agent", True, True, True),
        ("invoke_workflow", True, True, True), ("handle_conversation_turn", True, True, True),
        ("execute_tool", False, False, True), ("plan", False, False, True), ("summon", True, True, False),
        ("summon", False, False, False),
    ],
)  # fmt: skip
def test_calls_and_containers_are_told_apart(operation: str, usage: bool, candidate: bool, container: bool) -> None:
    """Inference and embeddings are calls; agents and workflows may be while no descendant carries their usage."""
    attributes = CHAT | {"gen_ai.operation.name": operation}
    if usage:
        attributes |= {"gen_ai.usage.input_tokens": 3}
    found = row(normalised(span(attributes)))
    assert (found["operation"], found["is_candidate"], found["is_container"]) == (operation, candidate, container)


def test_a_span_that_names_no_operation_counts_while_nothing_inside_does() -> None:
    """With a model and usage it may be a call or wrap some: counted like an agent span."""
    nameless = {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 3}
    found = normalised(span(nameless, name="ask"), span({"gen_ai.system": "openai"}, name="ask"))
    assert found.fields["is_candidate"].to_pylist() == [True, False]
    assert found.fields["is_container"].to_pylist() == [True, False]


def test_spans_that_are_not_genai_keep_their_dimensions() -> None:
    """An HTTP or database span has no dialect and no operation, but belongs to its user, project and service."""
    attributes = {"http.request.method": "GET", "user.id": "u-1", "spanfold.project": "web"}
    found = row(normalised(span(attributes, name="GET /"), resource={"service.name": "shop", "session.id": "s-9"}))
    assert found == {
        "user_id": "u-1", "session_id": "s-9", "project": "web", "service_name": "shop", "status": "success",
        "truncated": False, "is_candidate": False, "is_container": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("attributes", "resource", "expected"),
    [
        ({"user.id": "span"}, {"user.id": "resource"}, {"user_id": "span"}),
        ({"baggage.user.id": "baggage"}, {"user.id": "resource"}, {"user_id": "resource"}),
        ({"baggage.user.id": "baggage"}, {}, {"user_id": "baggage"}),
        ({"enduser.id": "old"}, {}, {"user_id": "old"}),
        ({"user.id": 42}, {}, {"user_id": "42"}),
        ({"user.id": ""}, {"user.id": "resource"}, {"user_id": "resource"}),
        ({}, {"service.namespace": "web", "service.name": "shop"}, {"project": "web", "service_name": "shop"}),
        ({}, {"deployment.environment": "old"}, {"environment": "old"}),
        ({}, {"tag.tags": ["a"]}, {"tags": ["a"]}),
    ],
)
def test_dimensions_come_from_the_nearest_place(
    attributes: dict[str, Any], resource: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Span attribute, then resource, then baggage copied to the span."""
    found = row(normalised(span(attributes), resource=resource))
    assert {name: found[name] for name in expected} == expected


def test_the_label_of_an_api_key_is_the_last_resort() -> None:
    """A stated label wins over the key with which the request came in."""
    request = trace_request(span({"spanfold.key": "mine"}), span({}))
    batch = decode_spans([type(request)(request.body, key_label="from-key")])
    assert normalise_spans(batch).fields["key_label"].to_pylist() == ["mine", "from-key"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"gen_ai.system": "az.ai.openai"}, {"provider": "azure.ai.openai", "dialect": "otel-events"}),
        ({"gen_ai.system": "OpenAI"}, {"provider": "openai"}),
        ({"gen_ai.system": "gemini"}, {"provider": "gcp.gemini"}),
        ({"gen_ai.provider.name": "x_ai", "gen_ai.system": "openai"}, {"provider": "x_ai"}),
        ({"gen_ai.provider.name": "my-own"}, {"provider": "my-own"}),
        ({"gen_ai.usage.prompt_tokens": 5}, {"input_tokens": 5}),
        ({"gen_ai.usage.completion_tokens": 2}, {"output_tokens": 2}),
        ({"gen_ai.usage.prompt_tokens": 5, "gen_ai.usage.input_tokens": 6}, {"input_tokens": 6}),
        ({"gen_ai.usage.input_tokens": 9, "gen_ai.usage.cache_creation.input_tokens": 4},
         {"cache_write_tokens": 4, "uncached_input_tokens": 5}),
        ({"gen_ai.openai.response.service_tier": "scale"}, {"service_tier": "scale"}),
        ({"gen_ai.response.finish_reasons": ["tool_calls"]}, {"finish_reasons": ["tool_call"]}),
        ({"gen_ai.response.finish_reasons": ["SAFETY", "odd"]}, {"finish_reasons": ["content_filter", "odd"]}),
        ({"gen_ai.request.model": "claude-sonnet-4-5"}, {"provider": "anthropic"}),
    ],
)  # fmt: skip
def test_older_names_are_read_and_newer_ones_win(attributes: dict[str, Any], expected: dict[str, Any]) -> None:
    """Generations 1.26 to 1.41 and careless values come to the newest vocabulary."""
    found = row(normalised(span({"gen_ai.operation.name": "chat"} | attributes)))
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("attributes", "fields", "status", "error_type"),
    [
        ({}, {}, "success", None),
        ({}, {"status": Status(code=1)}, "success", None),
        ({}, {"status": Status(code=2, message="boom")}, "error", None),
        ({"error.type": "RateLimitError"}, {"status": Status(code=2)}, "error", "RateLimitError"),
        ({"error.type": "500"}, {}, "error", "500"),
        ({"error.type": "CancelledError"}, {"status": Status(code=2)}, "canceled", "CancelledError"),
        ({"error.type": "GeneratorExit"}, {}, "canceled", "GeneratorExit"),
        ({}, {"status": Status(code=2, message="client disconnected")}, "canceled", None),
        ({"gen_ai.response.finish_reasons": ["error"]}, {}, "canceled", None),
        ({"gen_ai.response.finish_reasons": ["error"], "error.type": "x"}, {}, "error", "x"),
        ({"gen_ai.response.status": "cancelled"}, {}, "canceled", None),
    ],
)
def test_errors_and_cancellations_are_told_apart(
    attributes: dict[str, Any], fields: dict[str, Any], status: str, error_type: str | None
) -> None:
    """Status is success, error or canceled; an answer abandoned midway is no error of the model."""
    found = row(normalised(span(CHAT | attributes, **fields)))
    assert (found["status"], found.get("error_type")) == (status, error_type)


def test_an_exception_event_names_the_error() -> None:
    """Where no attribute names the error, the recorded exception does."""
    event = Span.Event(name="exception", attributes=key_values({"exception.type": "openai.RateLimitError"}))
    found = row(normalised(span(CHAT, events=[event], status=Status(code=2))))
    assert found["error_type"] == "openai.RateLimitError"


TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}


@pytest.mark.parametrize("structured", [True, False])
def test_messages_come_as_json_or_as_values(structured: bool) -> None:
    """JSON strings and structured attributes give the same content, and neither stays an attribute."""
    wire = {
        "gen_ai.system_instructions": [text("Be kind.")],
        "gen_ai.input.messages": [USER | {"name": None}],
        "gen_ai.output.messages": [SAID | {"finish_reason": "length"}],
        "gen_ai.tool.definitions": [TOOL],
    }
    sent = wire if structured else {key: json.dumps(value) for key, value in wire.items()}
    found = normalised(span(CHAT | sent))
    assert [sides(content) for content in found.contents] == [
        {"input": [USER], "output": [SAID], "system": [text("Be kind.")], "tools": [TOOL]}
    ]
    assert found.content_keys == set(wire)
    assert found.unparsed == []
    assert row(found)["finish_reasons"] == ["length"]
    assert (found.contents[0].input_text is None) == structured


@pytest.mark.parametrize(("lead", "shows"), [("", True), ("語" * 350, True), ("ö" * 390, False)])
def test_a_history_that_shows_its_shape_is_not_copied_until_it_is_kept(lead: str, shows: bool) -> None:
    """In its first 400 characters. It is compared where it lies in the chunk; who keeps it gets a text of its own."""
    told = json.dumps([{"name": lead, **SAID}, USER], ensure_ascii=False)
    (content,) = normalised(span(CHAT | {"gen_ai.input.messages": told})).contents
    assert isinstance(content.input_text, memoryview) == shows
    before = sides(content)["input"]
    assert [message["parts"] for message in before] == [SAID["parts"], USER["parts"]]
    assert content.kept().input_text == (told if shows else None)
    assert sides(content)["input"] == before


@pytest.mark.parametrize(
    ("operation", "attributes", "expected"),
    [
        (
            "execute_tool",
            {"gen_ai.tool.name": "get_weather", "gen_ai.tool.call.id": "c1",
             "gen_ai.tool.call.arguments": '{"city": "Paris"}', "gen_ai.tool.call.result": '{"sky": "clear"}'},
            {"input": [{"role": "assistant", "parts": [
                {"type": "tool_call", "name": "get_weather", "arguments": {"city": "Paris"}, "id": "c1"}]}],
             "output": [{"role": "tool", "parts": [
                {"type": "tool_call_response", "response": '{"sky": "clear"}', "id": "c1"}]}]},
        ),
        (
            "retrieval",
            {"gen_ai.retrieval.query.text": "refunds", "gen_ai.retrieval.documents": '[{"id": "d1", "score": 0.5}]'},
            {"input": [{"role": "user", "parts": [text("refunds")]}],
             "output": [{"role": "tool", "parts": [{"type": "document", "id": "d1", "score": 0.5}]}]},
        ),
        (
            "search_memory",
            {"gen_ai.memory.query.text": "name?", "gen_ai.memory.records": [{"id": "m1", "content": "Jane"}]},
            {"input": [{"role": "user", "parts": [text("name?")]}],
             "output": [{"role": "tool", "parts": [{"type": "memory_record", "id": "m1", "content": "Jane"}]}]},
        ),
        (
            "embeddings",
            {"gen_ai.input.messages": '["one", "two"]'},
            {"input": [{"role": "user", "parts": [text("one")]}, {"role": "user", "parts": [text("two")]}]},
        ),
    ],
)  # fmt: skip
def test_tools_retrieval_memory_and_embeddings_have_content(
    operation: str, attributes: dict[str, Any], expected: dict[str, Any]
) -> None:
    """What a tool was asked and answered, what was searched and found, what was embedded are contexts too."""
    found = normalised(span({"gen_ai.operation.name": operation} | attributes))
    assert [sides(content) for content in found.contents] == [expected]


def test_mcp_spans_are_classified_by_their_method() -> None:
    """tools/call is the execution of a tool; other methods are operations of their own."""
    called, listed = (
        row(normalised(span({"mcp.method.name": name, "gen_ai.tool.name": "t"})))
        for name in ("tools/call", "tools/list")
    )
    assert (called["operation"], called["tool_name"], listed["operation"]) == ("execute_tool", "t", "tools/list")


def test_content_on_span_events_is_found() -> None:
    """Generation 1.26 (one JSON an event) and the details event put content on span events."""
    old = [
        Span.Event(name="gen_ai.content.prompt", attributes=key_values(
            {"gen_ai.prompt": '[{"role":"user","content":"Hi"}]'})),
        Span.Event(name="gen_ai.content.completion", attributes=key_values(
            {"gen_ai.completion": '[{"role":"assistant","content":"Hello"}]'})),
    ]  # fmt: skip
    new = [
        Span.Event(
            name="gen_ai.client.inference.operation.details",
            attributes=key_values({"gen_ai.input.messages": [USER], "gen_ai.output.messages": [SAID]}),
        )
    ]
    for events in (old, new):
        found = normalised(span({"gen_ai.system": "openai"}, events=events))
        assert [sides(content) for content in found.contents] == [{"input": [USER], "output": [SAID]}]
        assert found.contents[0].source == "span_event"
        assert found.event_keys == {(event.name, entry.key) for event in events for entry in event.attributes}


def _log(name: str, body: Any = None, *, attribute: bool = False, time: int = 0, **attributes: Any) -> LogRecord:
    named = {"event.name": name} if attribute else {}
    return LogRecord(
        trace_id=b"\x01" * 16, span_id=b"\x02" * 8, event_name="" if attribute else name, time_unix_nano=time,
        body=any_value(body), attributes=key_values(named | attributes),
    )  # fmt: skip


CALLED = {"id": "c1", "type": "function", "function": {"name": "t", "arguments": "{}"}}
EVENTS = [
    _log("gen_ai.system.message", {"content": "Be kind."}, time=1),
    _log("gen_ai.user.message", {"content": "Hi"}, time=2, attribute=True),
    _log("gen_ai.assistant.message", {"tool_calls": [CALLED]}, time=3),
    _log("gen_ai.tool.message", {"id": "c1", "content": "42"}, time=4),
    _log("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"content": "Hello"}}, time=5),
]
TOLD = {
    "input": [
        {"role": "system", "parts": [text("Be kind.")]},
        USER,
        {"role": "assistant", "parts": [{"type": "tool_call", "name": "t", "arguments": {}, "id": "c1"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "response": "42", "id": "c1"}]},
    ],
    "output": [SAID],
}


def test_one_log_record_a_message_becomes_a_context_in_any_order() -> None:
    """Events of generations 1.28 to 1.36, in any order and sent twice, give one context."""
    pieces = normalise_logs(decode_logs([log_request(*EVENTS)]))
    assert [piece.single for piece in pieces] == [True] * 5
    assert pieces[-1].finish == ("stop",)
    assert all(piece.body for piece in pieces)
    for order in itertools.permutations(pieces):
        assert sides(assemble([*order, order[0]])) == TOLD


@pytest.mark.parametrize(
    ("choice", "reason", "part"),
    [
        ({"role": "assistant", "content": [
            {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Oslo"}}}]}, "tool_use",
         {"type": "tool_call", "id": "t1", "name": "weather", "arguments": {"city": "Oslo"}}),
        ({"role": "model", "content": [{"text": "Sunny"}]}, "stop", {"type": "text", "content": "Sunny"}),
    ],
    ids=["bedrock", "vertex"],
)  # fmt: skip
def test_events_hold_the_blocks_of_the_provider(choice: dict[str, Any], reason: str, part: dict[str, Any]) -> None:
    """The instrumentations of botocore and Vertex AI log the provider's own blocks; a model speaks as assistant."""
    asked = _log("gen_ai.user.message", {"role": "user", "content": [{"text": "Weather?"}]}, time=1)
    said = _log("gen_ai.choice", {"index": 0, "finish_reason": reason, "message": choice}, time=2)
    told = sides(assemble(normalise_logs(decode_logs([log_request(asked, said)]))))
    assert told["input"] == [{"role": "user", "parts": [text("Weather?")]}]
    assert told["output"][0]["role"] == "assistant"
    assert told["output"][0]["parts"] == [part]


def test_messages_of_one_instant_keep_their_place_in_the_request() -> None:
    """openai-v2 stamps no time: the order within the request tells."""
    for entry in EVENTS:
        entry.time_unix_nano = 0
    pieces = normalise_logs(decode_logs([log_request(_log("other")), log_request(*EVENTS)]))
    assert sides(assemble(pieces[::-1])) == TOLD


def test_a_details_record_says_whole_sides() -> None:
    """`operation.details` carries structured messages; the fullest telling of a side wins, whatever came first."""
    details = {"gen_ai.input.messages": [USER], "gen_ai.output.messages": [SAID], "gen_ai.request.model": "m"}
    short = {"gen_ai.input.messages": [], "gen_ai.output.messages": [{"role": "assistant", "parts": []}]}
    name = "gen_ai.client.inference.operation.details"
    pieces = normalise_logs(decode_logs([log_request(_log(name, **details), _log(name, **short))]))
    assert pieces[0].keys == {"gen_ai.input.messages", "gen_ai.output.messages"}
    for order in itertools.permutations(pieces):
        assert sides(assemble(order)) == {"input": [USER], "output": [SAID]}


def test_agent_clis_say_prompts_and_answers_in_attributes_of_events() -> None:
    """Claude Code names the event in its body, Codex the source line in the record's own name; both are understood."""
    claude = [
        _log("user_prompt", "claude_code.user_prompt", attribute=True, prompt="Hi", time=1),
        _log("assistant_response", "claude_code.assistant_response", attribute=True, response="Hello", time=2),
    ]
    assert sides(assemble(normalise_logs(decode_logs([log_request(*claude)])))) == {"input": [USER], "output": [SAID]}
    codex = _log("event otel/src/events.rs:1200", **{"event.name": "codex.user_prompt", "prompt": "Hi"})
    pieces = normalise_logs(decode_logs([log_request(codex)]))
    assert [piece.keys for piece in pieces] == [{"prompt"}]
    assert sides(assemble(pieces)) == {"input": [USER]}


def test_captured_logs_of_senders_hold_their_conversations() -> None:
    """Events captured from openai-v2 (one a message) and the official instrumentation (whole sides) are read."""
    legacy = normalise_logs(decode_logs(captured("official-openai-v2-legacy/tools-logs-*.pb")))
    assert [message["role"] for message in sides(assemble(legacy[:3]))["input"]] == ["system", "user"]
    events = normalise_logs(decode_logs(captured("official-openai-events/chat4-logs-001.pb")))
    assert [len(sides(assemble([piece]))["input"]) for piece in events] == [2, 4, 6, 8]


ODD = {
    "nan tokens": {"gen_ai.usage.input_tokens": float("nan")},
    "huge tokens": {"gen_ai.usage.input_tokens": 1e308},
    "negative tokens": {"gen_ai.usage.input_tokens": -5},
    "tokens in words": {"gen_ai.usage.input_tokens": "many"},
    "tokens as text": {"gen_ai.usage.output_tokens": "7"},
    "cut messages": {"gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"Hi'},
    "repr messages": {"gen_ai.input.messages": "[{'role': 'user', 'parts': [{'type': 'text', 'content': 'Hi'}]}]"},
    "number for messages": {"gen_ai.input.messages": 42},
    "bytes for messages": {"gen_ai.output.messages": b"\x00\xff"},
    "map for a model": {"gen_ai.request.model": {"a": 1}},
    "text for reasons": {"gen_ai.response.finish_reasons": "stop"},
    "an attribute like a column": {"operation": "x", "status": "y", "input_tokens": 3},
    "a surrogate": {"gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"\\ud800"}]}]'},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_one_odd_value_costs_nothing_else(odd: dict[str, Any]) -> None:
    """An odd value leaves NULL and a note; the rest of its span and its neighbours are untouched."""
    found = normalised(span(CHAT | odd), span(CHAT | {"gen_ai.usage.output_tokens": 4}))
    assert row(found)["operation"] == "chat"
    assert row(found)["provider"] == "openai"
    assert row(found, 1)["output_tokens"] == 4
    assert found.fields["input_tokens"].to_pylist() == [None, None]


def test_odd_values_are_noted() -> None:
    """What could not be taken as sent is counted by kind and key."""
    sent = CHAT | {
        "gen_ai.usage.input_tokens": "many",
        "gen_ai.usage.output_tokens": -1,
        "gen_ai.tool.definitions": "[{",
    }
    found = normalised(span(sent, dropped_attributes_count=3))
    assert {(note.kind, note.detail) for note in found.notes} == {
        ("not_a_number", "gen_ai.usage.input_tokens"), ("refused_count", "tokens"),
        ("cut_json", "gen_ai.tool.definitions"), ("truncated", "dropped_attributes_count"),
    }  # fmt: skip
    assert row(found)["truncated"] is True


def test_a_stream_without_usage_is_estimated_not_zero() -> None:
    """Unknown tokens stay NULL; beside them stands an estimate from the characters said."""
    silent = CHAT | {"gen_ai.request.stream": True, "gen_ai.output.messages": [SAID]}
    found = row(normalised(span(silent)))
    assert "output_tokens" not in found
    assert found["estimated_output_tokens"] == 2


@settings(deadline=None, max_examples=60)
@given(trace_requests())
def test_any_request_gives_every_column(requests: list[Any]) -> None:
    """Whatever a request holds, every column of meaning has its type and one value a span."""
    batch = decode_spans(requests)
    found = normalise_spans(batch)
    assert set(found.fields) == MEANING
    for name, array in found.fields.items():
        assert array.type == SPANS.field(name).type
        assert len(array) == len(batch.columns)
    for row_, key in found.unparsed:
        assert key in found.content_keys or any(key == other for _, other in found.event_keys)
        assert 0 <= row_ < len(batch.columns)
