"""Shape repair: whatever a provider or framework calls a message becomes the newest OTel GenAI shape."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanfold.semconv import content_shapes, messages
from spanfold.semconv.loose_json import clean, read_json
from spanfold.semconv.messages import canonical, match_form, parse_messages, read_messages, repair_message
from spanfold.semconv.provider_objects import request_side, response_facts, response_messages

Json = Any


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


CALL = {"type": "tool_call", "name": "get_weather", "arguments": {"city": "Paris"}, "id": "c1"}
ASKED = {"role": "assistant", "parts": [CALL]}
ANSWER = {"role": "tool", "parts": [{"type": "tool_call_response", "response": '{"sky": "clear"}', "id": "c1"}]}
USER = {"role": "user", "parts": [text("Hi")]}
CITY = '{"city": "Paris"}'

SHAPES: list[tuple[str, Json, dict[str, Any]]] = [
    ("otel", {"role": "user", "parts": [{"content": "Hi", "type": "text"}], "name": None}, USER),
    ("openai text", {"role": "user", "content": "Hi"}, USER),
    ("openai parts", {"role": "user", "content": [{"type": "text", "text": "Hi"}]}, USER),
    ("openai responses text", {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}, USER),
    ("gemini", {"role": "user", "parts": [{"text": "Hi"}]}, USER),
    ("bedrock", {"role": "user", "content": [{"text": "Hi"}]}, USER),
    ("langchain constructor", {"lc": 1, "id": ["langchain", "HumanMessage"], "kwargs": {"content": "Hi"}}, USER),
    ("langchain dict", {"type": "human", "data": {"content": "Hi", "type": "human"}}, USER),
    ("langchain flat", {"type": "human", "content": "Hi"}, USER),
    ("llama-index", {"role": "user", "blocks": [{"block_type": "text", "text": "Hi"}]}, USER),
    ("haystack", {"_role": "user", "_content": [{"text": "Hi"}], "_name": None}, USER),
    ("enum repr", {"role": "MessageRole.USER", "content": "Hi"}, USER),
    ("openinference", {"message": {"role": "user", "contents": [
        {"message_content": {"type": "text", "text": "Hi"}}]}}, USER),
    ("a bare text", "Hi", USER),
    ("blocks as a JSON string", {"role": "user", "content": '[{"type": "text", "text": "Hi"}]'}, USER),
    (
        "cache marks",
        {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
        USER,
    ),
    (
        "openai call",
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": CITY}}]},
        ASKED,
    ),
    ("openai responses call", {"type": "function_call", "call_id": "c1", "id": "fc_1", "name": "get_weather",
                               "arguments": CITY, "status": "completed"}, ASKED),
    ("anthropic call", {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "get_weather",
                                                          "input": {"city": "Paris"}}]}, ASKED),
    ("bedrock call", {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "get_weather",
                                                                    "input": {"city": "Paris"}}}]}, ASKED),
    ("vercel call", {"role": "assistant", "content": [
        {"type": "tool-call", "toolCallId": "c1", "toolName": "get_weather", "input": CITY}]}, ASKED),
    ("traceloop call", {"role": "assistant", "tool_calls": [
        {"id": "c1", "name": "get_weather", "arguments": CITY}]}, ASKED),
    ("langchain call", {"type": "ai", "content": "", "tool_calls": [
        {"name": "get_weather", "args": {"city": "Paris"}, "id": "c1", "type": "tool_call"}]}, ASKED),
    ("call said twice", {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "get_weather",
                                                           "input": {"city": "Paris"}}],
                         "tool_calls": [{"name": "get_weather", "args": {"city": "Paris"}, "id": "c1"}]}, ASKED),
    ("openai answer", {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "clear"}'}, ANSWER),
    ("openai responses answer", {
        "type": "function_call_output", "call_id": "c1", "output": '{"sky": "clear"}'}, ANSWER),
    ("langchain answer", {"type": "tool", "content": '{"sky": "clear"}', "tool_call_id": "c1"}, ANSWER),
    ("otel answer under result", {"role": "tool", "parts": [
        {"type": "tool_call_response", "id": "c1", "result": '{"sky": "clear"}'}]}, ANSWER),
    ("event body", {"role": "tool", "content": '{"sky": "clear"}', "id": "c1"}, ANSWER),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "expected"), [case[1:] for case in SHAPES], ids=[case[0] for case in SHAPES])
def test_every_shape_becomes_the_newest_one(sent: Json, expected: dict[str, Any]) -> None:
    """One message has one form, whoever wrote it down, so that its words are stored once."""
    assert repair_message(sent) == expected


def test_anthropic_answers_stand_in_a_user_message() -> None:
    """A tool's answer keeps the role that the sender gave it; its blocks become one text."""
    sent = {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "42"}], "is_error": False},
        {"type": "text", "text": "and now?"}]}  # fmt: skip
    assert repair_message(sent) == {
        "role": "user",
        "parts": [{"type": "tool_call_response", "response": "42", "id": "c1"}, text("and now?")],
    }


def test_reasoning_media_and_unknown_kinds_are_kept() -> None:
    """Reasoning of all dialects, images as blobs or references, kinds nobody knows as they are."""
    sent = {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "BBBB"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "hologram", "depth": 3, "index": 1}]}  # fmt: skip
    message = repair_message(sent)
    assert message is not None
    assert message["parts"] == [
        {"type": "reasoning", "content": "hm"},
        {"type": "blob", "modality": "image", "content": "AAAA", "mime_type": "image/png"},
        {"type": "blob", "modality": "image", "content": "BBBB", "mime_type": "image/jpeg"},
        {"type": "uri", "modality": "image", "uri": "https://example.com/a.png"},
        {"type": "hologram", "depth": 3},
    ]


def test_an_answer_equals_its_resending() -> None:
    """Reasoning that is not resent, other call ids, white space and empty parts do not hide that a call continues."""
    said = {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, text(" ok \n"), CALL]}
    resent = {"role": "assistant", "parts": [text("ok"), text(""), {**CALL, "id": "other"}]}
    assert match_form(said) == match_form(resent)
    assert match_form(ANSWER) == match_form(
        {"role": "user", "parts": [{**ANSWER["parts"][0], "response": {"sky": "clear"}}]}
    )  # type: ignore[index]
    assert match_form({"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}]}) is None
    assert match_form(USER) == canonical(USER)


@pytest.mark.parametrize(
    ("sent", "trouble", "expected"),
    [
        ('[{"role":"user","content":"Hi"}]', "", [USER]),
        ('[{"role":"user","content":"Hi"},{"role":"assistant","content":"He', "cut_json",
         [USER, {"role": "assistant", "parts": [text("He")]}]),
        ("[{'role': 'user', 'content': 'Hi'}]", "python_repr", [USER]),
        ("[ChatMessage(role=<Role.USER: 'user'>, content=[TextContent(text='Hi')])]", "python_repr", [USER]),
        ("Hi", "bad_json", [USER]),
        ('[{"role":"user","content":NaN}]', "loose_json", []),
        ('[{"role":"user","content":"\\ud800"}]', "loose_json", [{"role": "user", "parts": [text("?")]}]),
    ],
)  # fmt: skip
def test_json_that_is_none_still_gives_its_words(sent: str, trouble: str, expected: Json) -> None:
    """Cut JSON, Python reprs and bare texts are read, and what was wrong is said."""
    assert parse_messages(sent) == (expected, trouble)


def test_tool_definitions_have_one_shape() -> None:
    """OpenAI, Anthropic, Gemini, Bedrock and Vercel tools differ in wrapping only."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"type": "function", "name": "get_weather", "description": "Weather", "parameters": schema}
    bare = {"name": "get_weather", "description": "Weather"}
    for sent in (
        [{"type": "function", "function": {**bare, "parameters": schema}}],
        [{**bare, "input_schema": schema}],
        [{"functionDeclarations": [{**bare, "parameters": schema}]}],
        {"tools": [{"toolSpec": {**bare, "inputSchema": {"json": schema}}}]},
        [json.dumps({"type": "function", **bare, "inputSchema": schema})],
        [{"tool": {"json_schema": json.dumps({"type": "function", "function": {**bare, "parameters": schema}})}}],
    ):
        assert content_shapes.read_tools(sent) == [tool]


@pytest.mark.parametrize(("answer", "searches"), [
    ({"output": [{"type": "web_search_call", "action": {"type": "search", "query": "a"}}, {"type": "message"},
                 {"type": "web_search_call", "action": {"type": "open_page"}}, {"type": "web_search_call"}]}, 2),
    ({"output": [{"type": "message"}]}, None),
    ({"modelVersion": "gemini-3-pro", "candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b"]}}]}, 2),
    ({"modelVersion": "gemini-2.5-pro", "candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b"]}}]}, 1),
    ({"usage": {"input_tokens": 1, "server_tool_use": {"web_search_requests": 0}}}, 0),
    ({"usage": {"prompt_tokens": 1, "num_search_queries": 4}}, 4),
])  # fmt: skip
def test_billable_searches_are_counted(answer: dict[str, Any], searches: int | None) -> None:
    """Searches that the provider ran are counted as it bills them; opening a found page is none, silence is unknown."""
    assert response_facts(answer).get("web_searches") == searches


def test_responses_of_providers_state_their_facts() -> None:
    """Ids, models, finish reasons and disjoint token counts come out of the provider's own object."""
    openai = {"id": "chatcmpl-1", "model": "gpt-x", "choices": [{"finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": {
            "name": "get_weather", "arguments": CITY}}]}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}},
    }  # fmt: skip
    facts = response_facts(json.dumps(openai))
    assert facts == {
        "response_id": "chatcmpl-1", "response_model": "gpt-x", "finish_reasons": ["tool_calls"], "input_tokens": 9,
        "output_tokens": 4, "cache_read_tokens": 3,
    }  # fmt: skip
    assert response_messages(openai) == [ASKED]
    anthropic = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
                 "content": [{"type": "text", "text": "ok"}], "usage": {"input_tokens": 5, "output_tokens": 2,
                 "cache_read_input_tokens": 7, "cache_creation_input_tokens": 1}}  # fmt: skip
    assert response_facts(anthropic) == {
        "response_id": "msg_1", "response_model": "claude-x", "finish_reasons": ["end_turn"],
        "uncached_input_tokens": 5, "output_tokens": 2, "cache_read_tokens": 7, "cache_write_tokens": 1,
    }  # fmt: skip
    assert response_messages(anthropic) == [{"role": "assistant", "parts": [text("ok")]}]
    gemini = {"modelVersion": "gemini-x", "candidates": [{"finishReason": "STOP", "content": {
        "role": "model", "parts": [{"text": "why", "thought": True}, {"text": "ok"}]}}],
        "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 2, "thoughtsTokenCount": 5}}  # fmt: skip
    assert response_facts(gemini) == {
        "response_model": "gemini-x", "finish_reasons": ["STOP"], "input_tokens": 8, "text_output_tokens": 2,
        "reasoning_tokens": 5,
    }  # fmt: skip
    assert response_messages(gemini) == [
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "why"}, text("ok")]}
    ]


def test_requests_of_providers_give_all_sides() -> None:
    """Messages, system text and tools stand apart in a provider's request."""
    request = {"model": "claude-x", "system": [{"type": "text", "text": "Be kind."}],
               "messages": [{"role": "user", "content": "Hi"}], "tools": [{"name": "t", "input_schema": {}}],
    }  # fmt: skip
    assert request_side(request, "input") == [USER]
    assert request_side(request, "system") == [text("Be kind.")]
    assert request_side(request, "tools") == [{"type": "function", "name": "t", "parameters": {}}]


@pytest.mark.parametrize(("sent", "expected"), [
    ({"role": "tool", "tool_call_id": "c1", "parts": [{"score": 1}]},
     [{"role": "tool", "parts": [{"score": 1}]}]),
    ({"toolUse": {"name": "f"}, "tool_call_id": "c1", "kind": [1]},
     [{"role": "user", "parts": [{"toolUse": {"name": "f"}, "tool_call_id": "c1", "kind": [1]}]}]),
    ({"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}],
      "parts": [{"score": 1}]},
     [{"role": "assistant", "parts": [
         {"score": 1}, {"type": "tool_call", "id": "c1", "name": "f", "arguments": {}}]}]),
    ({"role": "user", "parts": [{"type": "image", "source": {"data": "QUJD", "media_type": {"a": 1}}}]},
     [{"role": "user", "parts": [{"type": "blob", "modality": "image", "content": "QUJD"}]}]),
    ({"role": "user", "parts": [{"score": float("inf")}, {"type": "text", "content": "Hi"}]}, [USER]),
])  # fmt: skip
def test_parts_of_no_known_type_are_kept(sent: Json, expected: Json) -> None:
    """Parts without a type, beside calls and answers too, with a media type that is none or with nothing in them."""
    assert read_messages(sent) == expected


@pytest.mark.parametrize(("item", "expected"), [
    ({"parts": [{"parts": 5}, {"parts": ["a"]}, {"parts": [{"type": "text", "content": "in"}]}]}, "in"),
    ({"parts": [{"type": "text", "content": "a"}, {"parts": None}, {"type": "text", "content": "b"}]}, "a\nb"),
])  # fmt: skip
def test_the_text_of_odd_parts(item: Json, expected: str) -> None:
    """A part of a kind that nobody knows may have parts that are none."""
    assert messages.text_of(item) == expected


def test_calls_that_are_no_list() -> None:
    """An answer in pieces whose calls are not calls is its text."""
    assert response_messages({"text": "Hi", "function_calls": True}) == [{"role": "assistant", "parts": [text("Hi")]}]


scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
keys = st.sampled_from(
    ["role", "content", "parts", "type", "text", "tool_calls", "function", "name", "arguments", "id", "message",
     "kwargs", "data", "input", "output", "toolUse", "functionCall", "image_url", "source", "messages", "lc",
     "blocks", "response"]
) | st.text(max_size=8)  # fmt: skip
types = st.sampled_from(
    ["text", "tool_use", "tool_result", "image", "human", "reasoning", "function_call", "file", "user"]
)
trees: st.SearchStrategy[Any] = st.recursive(
    scalars | types,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=25,
)


@settings(deadline=None)
@given(trees)
def test_nothing_a_sender_writes_raises(value: Json) -> None:
    """Any JSON where messages, tools, documents, requests or responses belong gives a valid result."""
    for read in (read_messages, content_shapes.read_parts, content_shapes.read_tools, content_shapes.read_documents,
                 content_shapes.read_texts, response_messages, response_facts):  # fmt: skip
        read(value)
    for side in ("input", "system", "tools"):
        request_side(value, side)
    for message in read_messages(value):
        assert isinstance(message["role"], str)
        assert message["parts"]
        canonical(message)
        match_form(message)
        assert messages.characters(message) >= 0


@settings(deadline=None)
@given(trees)
def test_repair_is_stable(value: Json) -> None:
    """A repaired message, stored and read again, is the same message."""
    for message in read_messages(clean(value)):
        stored = json.loads(canonical(message))
        again = repair_message(stored)
        assert again is not None
        assert canonical(again) == canonical(message)


@settings(deadline=None)
@given(st.lists(trees, max_size=5), st.integers(0, 5))
def test_repair_does_not_look_around(history: list[Json], at: int) -> None:
    """A history repaired in pieces equals the history repaired at once."""
    whole = messages.repair_messages(history)
    pieces = messages.repair_messages(history[:at]) + messages.repair_messages(history[at:])
    assert list(map(canonical, pieces)) == list(map(canonical, whole))


@settings(deadline=None)
@given(trees, st.integers(0, 400))
def test_cut_json_is_read_up_to_the_cut(value: Json, at: int) -> None:
    """JSON cut anywhere never raises, and never says more than the whole did."""
    whole = json.dumps(clean(value))
    found, trouble = read_json(whole[:at])
    assert trouble in ("", "loose_json", "cut_json", "bad_json", "python_repr")
    json.dumps(found)


@pytest.mark.parametrize(("head", "unit"), [("", "["), ("", '{"a":'), ('["x"', "["), ("[" * 900, ",")])
def test_cut_json_takes_time_by_its_length(head: str, unit: str) -> None:
    """A megabyte of brackets that never close, or of commas within many, is a text like others: it holds up nothing."""
    sent = head + unit * (1_000_000 // len(unit))
    begun = time.process_time()
    assert read_json(sent) == (sent, "bad_json")
    assert time.process_time() - begun < 10


@pytest.mark.parametrize("thought", ["{a}", "[1] first, [2] then", '{"a": 1}', '["a", "b"]', '"quoted"', "{'x': 1}"])
def test_a_thought_that_looks_like_json_stays_as_it_was(thought: str) -> None:
    """Reasoning is words: only objects that hold texts are opened."""
    sent = [{"role": "assistant", "parts": [{"type": "reasoning", "content": thought}]}]
    assert parse_messages(json.dumps(sent))[0] == sent


def test_thoughts_in_objects_are_opened() -> None:
    """Summaries that a sender wrote as JSON are its texts."""
    texts = json.dumps([{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}])
    sent = [{"role": "assistant", "parts": [{"type": "reasoning", "content": texts}]}]
    assert parse_messages(json.dumps(sent))[0][0]["parts"] == [{"type": "reasoning", "content": "one\ntwo"}]


@pytest.mark.parametrize("levels", [60, 149, 150, 151, 200, 400])
def test_what_lies_too_deep_becomes_its_text(levels: int) -> None:
    """Below 150 levels a value is its own JSON text: nothing of it is lost, and it can be written."""
    value = json.loads('{"a":["é",' * levels + "1" + "]}" * levels)
    kept = json.loads(canonical({"role": "user", "parts": [value]}))["parts"][0]
    for level in range(levels):
        if isinstance(kept, str):
            assert json.loads(kept) == json.loads('{"a":["é",' * (levels - level) + "1" + "]}" * (levels - level))
            return
        kept = kept["a"][1]
        if isinstance(kept, str):
            kept = json.loads(kept)
    assert kept == 1


@pytest.mark.parametrize("choices", [True, 7, "true", None, {"a": 1}, [None], [[]]])
def test_no_reasons_in_what_holds_none(choices: Any) -> None:
    """Whatever stands where answers should, it is no error and no finish reason."""
    assert messages.finish_reasons({"choices": choices}) == []
