"""Dialects are data: tables that are checked, and what they make of payloads captured from real senders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanfold.collector.decode import decode_spans
from spanfold.collector.otlp_json import to_protobuf
from spanfold.semconv.detection import Dialects
from spanfold.semconv.dialect import Content, Detect, Dialect, DialectError, Source, read_dialect
from spanfold.semconv.dialects import BUILT_IN
from spanfold.semconv.messages import parse_messages
from spanfold.semconv.normalise import Normalised, normalise_spans
from spanfold.semconv.records import SpanBatch
from tests.semconv.otlp import PAYLOADS, Accepted, span, trace_request

WEATHER = ["get_weather", "get_population"]


def _read(folder: str) -> tuple[SpanBatch, Normalised]:
    bodies = []
    for path in sorted((PAYLOADS / folder).glob("*-traces-*")):
        raw = path.read_bytes()
        bodies.append(to_protobuf(ExportTraceServiceRequest, raw) if path.suffix == ".json" else raw)
    batch = decode_spans([Accepted(body) for body in bodies])
    return batch, normalise_spans(batch)


def _calls(batch: SpanBatch, found: Normalised) -> list[dict[str, Any]]:
    """The leaf calls in order of start: their columns, roles of the input, kinds of the answer, tool names."""
    said = {content.row: content for content in found.contents}
    starts = batch.columns["start_ns"].to_pylist()
    rows = [{name: array[at].as_py() for name, array in found.fields.items()} for at in range(len(starts))]
    leaves = [at for at, row in enumerate(rows) if row["is_candidate"] and not row["is_container"]]
    out = []
    for at in sorted(leaves, key=lambda at: starts[at]):
        content = said.get(at)
        told = [] if content is None else parse_messages(content.input_text)[0] if content.input_text else content.input
        answer = [] if content is None else content.output or []
        out.append(
            rows[at]
            | {
                "roles": [message["role"] for message in told or []],
                "answer": [part["type"] for message in answer for part in message["parts"]],
                "tools": [tool["name"] for tool in (content.tools if content else None) or []],
            }
        )
    return out


TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens")
OPENAI = ("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18")
DATED = ("openai", "gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18")
UNDATED = ("openai", "gpt-4o-mini", None)
LLAMA = ("ollama", "llama3.2", "llama3.2")
CLAUDE = ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929")
STATED, KNOWN = "stated:inclusive", "known_emitter:inclusive"
SYSTEM = [["system", "user"], ["system", "user", "assistant", "tool"]]
PLAIN = [["user"], ["user", "assistant", "tool"]]
USERS = [["user"], ["user", "assistant", "user"]]

CAPTURED = [  # folder, dialect, models, tokens of the first two calls, roles of their inputs, verdict of the second
    ("agent-framework", "otel-new", OPENAI, [(128, 9, 0), (185, 9, 111)], PLAIN, STATED),
    ("langfuse-openai", "langfuse", DATED, [(103, 9, 0), (160, 9, 96)], SYSTEM, STATED),
    ("langfuse-js-openai", "langfuse", DATED, [(72, 9, 0), (127, 9, 76)], PLAIN, "stated:exclusive"),
    ("litellm-otel", "litellm", CLAUDE, [(72, 9, 0), (129, 9, 77)], PLAIN, STATED),
    ("llama-index-otel", "llama-index", OPENAI, [(127, 9, 0), (184, 9, 110)], SYSTEM, STATED),
    ("mlflow", "mlflow", OPENAI, [(103, 9, 0), (160, 9, 96)], SYSTEM, STATED),
    ("openinference-haystack", "openinference", DATED, [(103, 9, 0), (160, 9, 96)], SYSTEM, KNOWN),
    ("openinference-langchain", "openinference", OPENAI, [(103, 9, 0), (160, 9, 96)], SYSTEM, KNOWN),
    ("openinference-openai", "openinference", OPENAI, [(103, 9, 0), (160, 9, 96)], SYSTEM, KNOWN),
    ("openinference-openai-agents", "openinference", DATED, [(151, 9, 0), (208, 9, 124)], SYSTEM, KNOWN),
    ("pydantic-ai-0.4", "pydantic-ai", OPENAI, [(119, 9, None), (174, 9, 104)], SYSTEM, STATED),
    ("pydantic-ai-v5", "pydantic-ai", OPENAI, [(119, 9, None), (174, 9, 104)], USERS, STATED),
    ("strands-latest", "otel-new", UNDATED, [(121, 9, 0), (178, 9, 106)], USERS, STATED),
    ("strands-old", "otel-events", UNDATED, [(121, 9, 0), (178, 9, 106)], SYSTEM, STATED),
    ("traceloop-openai-0.40", "traceloop-old", OPENAI, [(103, 9, 0), (160, 9, 96)], SYSTEM, "assumed:inclusive"),
    ("traceloop-ollama", "traceloop-old", LLAMA, [(72, 9, None), (130, 9, None)], PLAIN, STATED),
    ("vercel-ai", "vercel", OPENAI, [(147, 9, 0), (202, 9, 121)], SYSTEM, "known_emitter:inclusive"),
    ("vercel-ai7", "otel-new", OPENAI, [(147, 9, 0), (202, 9, 121)], PLAIN, STATED),
]  # fmt: skip
NO_CALLS_SHOWN = {"traceloop-ollama"}  # the answers' tool calls were never sent
NO_TOOLS_SHOWN = {"agent-framework", "strands-latest", "strands-old"}


@pytest.mark.parametrize(
    ("folder", "dialect", "models", "tokens", "roles", "verdict"), CAPTURED, ids=[c[0] for c in CAPTURED]
)
def test_captured_agents_tell_the_same_story(
    folder: str, dialect: str, models: tuple[str | None, ...], tokens: list[Any], roles: list[list[str]], verdict: str
) -> None:
    """An agent that asks for weather, then population, then answers: the same columns and sides in every dialect."""
    calls = _calls(*_read(folder))
    assert len(calls) == 3
    assert {call["dialect"] for call in calls} == {dialect}
    assert {(call["provider"], call["request_model"], call["response_model"]) for call in calls} == {models}
    assert [tuple(call[name] for name in TOKENS) for call in calls[:2]] == tokens
    assert [call["roles"] for call in calls[:2]] == roles
    assert calls[1]["usage_verdict"] == verdict
    shown = [] if folder in NO_CALLS_SHOWN else ["tool_call"]
    assert [call["answer"] for call in calls] == [shown, shown, ["text"]]
    assert calls[0]["tools"] == ([] if folder in NO_TOOLS_SHOWN else WEATHER)
    assert all(call["operation"] == "chat" and call["status"] == "success" for call in calls)


def test_claude_code_counts_input_without_cache() -> None:
    """Claude Code's own names are read on its spans only, and its input tokens exclude the cache."""
    calls = _calls(*_read("claude-code"))
    assert [tuple(call[name] for name in (*TOKENS, "cache_write_tokens")) for call in calls] == [
        (12559, 17, 0, 0), (3789 + 7576 + 1262, 29, 7576, 1262),
    ]  # fmt: skip
    assert [call["usage_verdict"] for call in calls] == ["known_emitter:exclusive", "proven:exclusive"]
    assert [call["finish_reasons"] for call in calls] == [["tool_call"], ["stop"]]


def test_twins_of_the_anthropic_sdk_are_both_candidates_with_one_response_id() -> None:
    """Two spans of one call state the same response id and the same usage, so that one can be suppressed."""
    calls = _calls(*_read("traceloop-anthropic"))
    assert len(calls) == 6
    for first, second in zip(calls[::2], calls[1::2], strict=True):
        assert first["response_id"] == second["response_id"]
        assert first["input_tokens"] == second["input_tokens"]


def test_adk_keeps_tools_on_the_span_and_words_in_logs() -> None:
    """Google ADK's spans carry usage and tool definitions; messages come with log records."""
    calls = _calls(*_read("google-adk-default"))
    assert [call["input_tokens"] for call in calls] == [68, 123, 178]
    assert [call["roles"] for call in calls] == [[], [], []]
    assert calls[0]["tools"] == WEATHER
    assert {call["conversation_id"] for call in calls} != {None}


DOCUMENTED: list[tuple[str, str, str, dict[str, Any], dict[str, Any]]] = [  # dialect, scope, span name, sent, expected
    (
        "genkit", "genkit-tracer", "googleai/gemini-2.5-flash",
        {"genkit:type": "action", "genkit:metadata:subtype": "model", "genkit:name": "googleai/gemini-2.5-flash",
         "genkit:sessionId": "s",
         "genkit:input": '{"messages":[{"role":"user","content":[{"text":"Hi"}]},{"role":"model","content":'
                         '[{"toolRequest":{"name":"t","ref":"r","input":{"a":1}}}]}],"tools":[{"name":"t"}]}',
         "genkit:output": '{"message":{"role":"model","content":[{"text":"Hello"}]},"finishReason":"stop",'
                          '"usage":{"inputTokens":7,"outputTokens":2}}'},
        {"operation": "chat", "provider": "gcp.gemini", "request_model": "gemini-2.5-flash", "input_tokens": 7,
         "output_tokens": 2, "finish_reasons": ["stop"], "roles": ["user", "assistant"], "answer": ["text"],
         "tools": ["t"], "session_id": "s"},
    ),
    (
        "langsmith", "langsmith", "ChatOpenAI",
        {"langsmith.span.kind": "llm", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o",
         "gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 4, "langsmith.metadata.thread_id": "t1",
         "gen_ai.usage.input_token_details": '{"cache_read": 5}',
         "gen_ai.prompt": '{"messages":[[{"lc":1,"id":["langchain","HumanMessage"],"kwargs":{"content":"Hi"}}]]}',
         "gen_ai.completion": '{"generations":[[{"message":{"lc":1,"id":["x","AIMessage"],"kwargs":'
                              '{"content":"Hello"}}}]]}'},
        {"operation": "chat", "provider": "openai", "request_model": "gpt-4o", "input_tokens": 9,
         "cache_read_tokens": 5, "roles": ["user"], "answer": ["text"], "conversation_id": "t1"},
    ),
    (
        "livekit", "livekit-agents", "llm_request",
        {"gen_ai.request.model": "gpt-4o", "lk.chat_ctx": '{"items":[{"type":"message","role":"user",'
         '"content":["Hi"]}]}', "lk.response.text": "Hello", "lk.room_name": "room",
         "lk.llm_metrics": '{"prompt_tokens":9,"completion_tokens":4,"prompt_cached_tokens":5,"ttft":0.5}'},
        {"operation": "chat", "provider": "openai", "input_tokens": 9, "output_tokens": 4, "cache_read_tokens": 5,
         "ttft_ms": 500.0, "roles": ["user"], "answer": ["text"], "session_id": "room"},
    ),
    (
        "voltagent", "@voltagent/core", "llm:generateText",
        {"span.type": "llm", "llm.model": "gpt-4o", "llm.usage.prompt_tokens": 9, "llm.usage.completion_tokens": 4,
         "llm.messages": '[{"role":"user","content":"Hi"}]', "output": "Hello"},
        {"operation": "chat", "request_model": "gpt-4o", "input_tokens": 9, "output_tokens": 4, "roles": ["user"],
         "answer": ["text"]},
    ),
    (
        "laminar", "lmnr", "openai.chat",
        {"lmnr.span.type": "LLM", "gen_ai.system": "openai", "gen_ai.prompt.0.role": "user",
         "gen_ai.prompt.0.content": "Hi", "gen_ai.completion.0.content": "Hello",
         "lmnr.association.properties.session_id": "s"},
        {"operation": "chat", "provider": "openai", "roles": ["user"], "answer": ["text"], "session_id": "s"},
    ),
    (
        "haystack", "haystack", "haystack.component.run",
        {"haystack.component.type": "OpenAIChatGenerator",
         "haystack.component.input": '{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}',
         "haystack.component.output": '{"replies":[{"role":"assistant","content":[{"text":"Hello"}],"meta":'
         '{"model":"gpt-4o-2024","finish_reason":"stop","usage":{"prompt_tokens":9,"completion_tokens":4}}}]}'},
        {"operation": "chat", "provider": "openai", "response_model": "gpt-4o-2024", "input_tokens": 9,
         "output_tokens": 4, "finish_reasons": ["stop"], "roles": ["user"], "answer": ["text"]},
    ),
    (
        "spring-ai", "org.springframework.boot", "spring_ai chat_client",
        {"spring.ai.kind": "chat_client", "gen_ai.operation.name": "framework", "gen_ai.system": "spring_ai",
         "spring.ai.chat.client.conversation.id": "c1"},
        {"operation": "invoke_agent", "conversation_id": "c1"},
    ),
    (
        "tracebrain", "tracebrain", "llm",
        {"tracebrain.span.type": "llm_inference", "tracebrain.content.new_content": "Hi",
         "tracebrain.llm.completion": "Hello", "tracebrain.usage.input_tokens": 3},
        {"operation": "chat", "input_tokens": 3, "roles": ["user"], "answer": ["text"]},
    ),
    (
        "otel-events", "opentelemetry.instrumentation.botocore.bedrock-runtime", "chat amazon.nova-micro-v1:0",
        {"rpc.system": "aws-api", "rpc.service": "Bedrock Runtime", "rpc.method": "Converse",
         "gen_ai.system": "aws.bedrock", "gen_ai.operation.name": "chat",
         "gen_ai.request.model": "amazon.nova-micro-v1:0", "gen_ai.usage.input_tokens": 8,
         "gen_ai.usage.output_tokens": 10, "gen_ai.response.finish_reasons": ["max_tokens"]},
        {"operation": "chat", "provider": "aws.bedrock", "request_model": "amazon.nova-micro-v1:0",
         "input_tokens": 8, "output_tokens": 10, "finish_reasons": ["length"], "streaming": None},
    ),
    (
        "otel-events", "io.opentelemetry.aws-sdk-2.2", "BedrockRuntime.ConverseStream",
        {"rpc.method": "ConverseStream", "gen_ai.system": "aws_bedrock", "gen_ai.usage.input_tokens": 8,
         "gen_ai.request.model": "anthropic.claude-3-5-sonnet-20241022-v2:0"},
        {"operation": "chat", "provider": "aws.bedrock", "input_tokens": 8, "streaming": True},
    ),
    (
        "otel-events", "Amazon.AWS.AWSClientInstrumentation", "Bedrock Runtime.InvokeModel",
        {"rpc.method": "InvokeModel", "gen_ai.system": "aws.bedrock", "gen_ai.usage.input_tokens": 8,
         "gen_ai.request.model": "amazon.titan-embed-text-v2:0"},
        {"operation": "embeddings", "provider": "aws.bedrock", "input_tokens": 8},
    ),
    (
        "otel-events", "opentelemetry.instrumentation.vertexai", "chat gemini-1.5-flash-002",
        {"gen_ai.system": "vertex_ai", "gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 5,
         "gen_ai.request.model": "gemini-1.5-flash-002", "gen_ai.response.model": "gemini-1.5-flash-002",
         "gen_ai.usage.output_tokens": 19, "gen_ai.response.finish_reasons": ["stop"]},
        {"operation": "chat", "provider": "gcp.vertex_ai", "response_model": "gemini-1.5-flash-002",
         "input_tokens": 5, "output_tokens": 19, "finish_reasons": ["stop"]},
    ),
    (
        "traceloop-old", "opentelemetry.instrumentation.vertexai", "vertexai.generate_content",
        {"gen_ai.system": "VertexAI", "llm.request.type": "completion", "gen_ai.request.model": "gemini-2.0-flash",
         "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": '[{"type": "text", "text": "Hi"}]',
         "gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "Hello",
         "llm.usage.total_tokens": 48, "gen_ai.usage.completion_tokens": 29, "gen_ai.usage.prompt_tokens": 19},
        {"provider": "gcp.vertex_ai", "input_tokens": 19, "output_tokens": 29, "roles": ["user"], "answer": ["text"]},
    ),
    (
        "adk", "gcp.vertex.agent", "call_llm",
        {"gen_ai.system": "gcp.vertex.agent", "gen_ai.request.model": "gemini-2.0", "gen_ai.usage.output_tokens": 117,
         "gcp.vertex.agent.session_id": "s",
         "gcp.vertex.agent.llm_request": '{"model":"gemini-2.0","config":{"system_instruction":"Be kind."},'
                                         '"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}',
         "gcp.vertex.agent.llm_response": '{"content":{"role":"model","parts":[{"text":"Hello"}]},"usage_metadata":'
                                          '{"prompt_token_count":108,"candidates_token_count":9}}'},
        {"operation": "chat", "request_model": "gemini-2.0", "input_tokens": 108, "output_tokens": 9,
         "roles": ["user"], "answer": ["text"], "session_id": "s"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "scope", "name", "sent", "expected"), DOCUMENTED, ids=[d[0] for d in DOCUMENTED])
def test_documented_dialects_are_read(
    dialect: str, scope: str, name: str, sent: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Spans as the documentation or source of an emitter shows them."""
    batch = decode_spans([trace_request(span(sent, name=name), name=scope)])
    found = normalise_spans(batch)
    row = {column: array[0].as_py() for column, array in found.fields.items()}
    assert row["dialect"] == dialect
    shown = _calls(batch, found)[0] if row["is_candidate"] and not row["is_container"] else row
    assert {key: shown[key] for key in expected} == expected


def test_a_truncated_history_keeps_its_end_and_says_so() -> None:
    """Where an SDK's cap dropped the first messages, the others keep their order, and no role is made up as `user`."""
    attributes = {
        "openinference.span.kind": "LLM", "llm.input_messages.4.message.content": "42",
        "llm.input_messages.5.message.role": "assistant", "llm.input_messages.5.message.content": "so?",
        "llm.input_messages.6.message.role": "tool", "llm.input_messages.6.message.content": "43",
    }  # fmt: skip
    batch = decode_spans([trace_request(span(attributes, dropped_attributes_count=9))])
    found = normalise_spans(batch)
    assert found.fields["truncated"].to_pylist() == [True]
    assert _calls(batch, found)[0]["roles"] == ["tool", "assistant", "tool"]
    assert [(said.lost, said.cut) for said in found.contents] == [(5, True)]  # the fifth has lost its role


def test_names_of_built_in_tables_are_unique() -> None:
    """Every table has a name of its own, so that a user's table of that name replaces it."""
    names = [table.name for table in BUILT_IN]
    assert len(set(names)) == len(names)


MINE = {
    "name": "mine",
    "detect": {"prefixes": ["acme."]},
    "guarded": True,
    "fields": {
        "operation": [{"key": "acme.kind", "values": {"ask": "chat"}}],
        "request_model": ["model", {"key": "acme.request", "path": "engine/name"}],
        "input_tokens": "acme.tokens.in",
        "ttft_ms": {"key": "acme.first", "scale": 1000},
        "tool_name": {"key": "@name", "pattern": r"^tool (\w+)$"},
    },
    "content": {
        "input": [{"key": "acme.asked", "shape": "messages"}],
        "output": {"key": "acme.said", "role": "assistant"},
    },
    "messages": [{"event": "acme.user", "side": "input", "role": "user", "path": "words"}],
}


def test_a_dialect_may_be_plain_data() -> None:
    """A table from a YAML file detects, maps, opens JSON, scales, matches patterns and reads content."""
    dialects = Dialects((read_dialect(MINE), *BUILT_IN))
    mine = span({"acme.kind": "ask", "acme.request": '{"engine": {"name": "m-1"}}', "acme.tokens.in": "12",
                 "acme.first": 0.5, "acme.asked": "Hi", "acme.said": "Hello"}, name="tool hammer")  # fmt: skip
    other = span({"model": "not a model", "http.request.method": "GET"}, name="tool saw")
    batch = decode_spans([trace_request(mine, other)])
    found = normalise_spans(batch, dialects)
    row = {name: array.to_pylist() for name, array in found.fields.items()}
    assert row["dialect"] == ["mine", None]
    assert row["operation"] == ["chat", None]
    assert row["request_model"] == ["m-1", None]
    assert row["input_tokens"] == [12, None]
    assert row["ttft_ms"] == [500.0, None]
    assert row["tool_name"] == ["hammer", None]
    assert _calls(batch, found)[0]["roles"] == ["user"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": ""}, "name"),
        ({"detect": None}, "detect"),
        ({"detect": {"colour": ["red"]}}, "detect"),
        ({"wings": 2}, "wings"),
        ({"fields": {"altitude": ["x"]}}, "altitude"),
        ({"fields": {"operation": [{"keys": "x"}]}}, "operation"),
        ({"fields": {"operation": [{"key": "x", "colour": "red"}]}}, "colour"),
        ({"fields": {"operation": [{"key": "x", "pattern": "("}]}}, "pattern"),
        ({"fields": {"operation": [{"key": "x", "pattern": "abc"}]}}, "group"),
        ({"fields": {"ttft_ms": [{"key": "x", "unit": "furlong"}]}}, "furlong"),
        ({"content": {"middle": ["x"]}}, "middle"),
        ({"content": {"input": [{"key": "x", "shape": "round"}]}}, "round"),
        ({"messages": [{"event": "x"}]}, "messages"),
        ({"messages": [{"event": "x", "side": "left", "role": "user"}]}, "left"),
        ({"input_tokens": "some"}, "some"),
    ],
)
def test_a_bad_table_is_refused_by_what_is_wrong(change: dict[str, Any], complaint: str) -> None:
    """A table that cannot be used is refused when it is loaded, naming the entry (TB-022)."""
    with pytest.raises(DialectError, match=complaint):
        read_dialect(MINE | change)


def test_keys_of_a_guarded_dialect_do_not_leak() -> None:
    """Common words such as `model` or `input_tokens` mean something on spans of their dialect only."""
    table = Dialect(name="loud", detect=Detect(scopes=("loud*",)), guarded=True, fields={"user_id": Source("who")},
                    content={"input": Content("words")})  # fmt: skip
    batch = decode_spans(
        [trace_request(span({"who": "x", "words": "Hi"}), name=name) for name in ("loud.scope", "quiet.scope")]
    )
    found = normalise_spans(batch, Dialects((table,)))
    assert found.fields["user_id"].to_pylist() == ["x", None]
    assert [content.row for content in found.contents] == [0]
    assert found.unparsed == [(1, "words")]


def test_payloads_are_there() -> None:
    """Every captured folder of the table exists."""
    assert all(Path(PAYLOADS / case[0]).is_dir() for case in CAPTURED)
