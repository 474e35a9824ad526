"""Versions of senders that say the same in other words: what payloads captured from them mean.

The numbers are what the model server of the capture counted and answered, not what the payloads say.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from spanfold.collector.decode import decode_logs, decode_spans
from spanfold.semconv.log_content import normalise_logs
from spanfold.semconv.messages import parse_messages, read_messages, repair_message
from spanfold.semconv.normalise import normalise_spans
from tests.semconv.otlp import captured, span, trace_request

ASKED = {"role": "user", "parts": [{"type": "text", "content": "What is the weather and the population of Paris?"}]}
SYSTEM = "You are a concise support assistant for the ACME travel shop."


def _calls(pattern: str) -> list[dict[str, Any]]:
    """The leaf calls among the captured spans."""
    return [found for found in _spans(pattern) if found["is_candidate"] and not found["is_container"]]


def _spans(pattern: str) -> list[dict[str, Any]]:
    """Columns and content of the captured spans that said something, in order of start."""
    batch = decode_spans(captured(pattern))
    found = normalise_spans(batch)
    said = {content.row: content for content in found.contents}
    out = []
    for row, start in enumerate(batch.columns["start_ns"].to_pylist()):
        columns = {name: array[row].as_py() for name, array in found.fields.items()}
        if row in said:
            content = said[row]
            told = parse_messages(content.input_text)[0] if content.input_text else content.input
            out.append((start, columns | {"input": told, "system": content.system, "output": content.output}))
    return [call for _, call in sorted(out, key=lambda item: item[0])]


@pytest.mark.parametrize(
    ("pattern", "tokens"),
    [
        ("vercel-ai-4/ant_agent-*", [(49, 9, 0, 0), (116, 9, 69, 11), (185, 15, 111, 18)]),
        ("vercel-ai-5/ant_agent-*", [(49, 9, 0, 0), (116, 9, 69, 11), (185, 15, 111, 18)]),
        ("logfire-anthropic/ant_parallel-*", [(55, 18, 0, 0), (176, 15, 105, 17)]),
    ],
)
def test_cache_tokens_of_the_provider_are_part_of_the_input(pattern: str, tokens: list[tuple[int, ...]]) -> None:
    """Input tokens are totals with cache, though the sender states them without, or the cache in a map of its own."""
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    assert [tuple(call[name] for name in names) for call in _calls(pattern)] == tokens


def test_one_flat_text_is_taken_apart_by_its_roles() -> None:
    """OpenLIT 1.33 writes a line `role: words` for each message and `None` where there were no words."""
    calls = _calls("openlit-1.33/tools-*")
    answer = {"type": "tool_call_response", "response": '{"city": "Paris", "temp_c": 21}'}
    system = {"role": "system", "parts": [{"type": "text", "content": SYSTEM}]}
    assert calls[0]["input"] == [system, ASKED]
    assert calls[1]["input"] == [system, ASKED, {"role": "tool", "parts": [answer]}]


def test_a_tool_answers_in_the_name_of_the_user() -> None:
    """A user's message that names a tool call is the answer to it (OpenInference on Anthropic, 0.1)."""
    told = _calls("openinference-anthropic-0.1/ant_tools-*")[1]["input"]
    assert told[0] == ASKED
    assert told[2]["parts"] == [
        {
            "type": "tool_call_response",
            "response": '{"city": "Paris", "temp_c": 21}',
            "id": told[1]["parts"][0]["id"],
        }
    ]


def test_a_prompt_without_roles_is_what_the_user_said() -> None:
    """`llm.prompts` as a plain list of texts (LlamaIndex completions)."""
    (call,) = _calls("openinference-llama-index/complete-*")
    assert call["input"] == [{"role": "user", "parts": [{"type": "text", "content": "Hello there"}]}]


def test_preparing_a_call_is_no_call() -> None:
    """LlamaIndex marks the step that builds the request as LLM; it asks nobody."""
    names = ("OpenAI._prepare_chat_with_tools", "OpenAI.astream_chat")
    spans = [
        span({"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini"}, name=name, span_id=bytes([n + 1] * 8))
        for n, name in enumerate(names)
    ]
    found = normalise_spans(decode_spans([trace_request(*spans, name="openinference.instrumentation.llama_index")]))
    assert found.fields["is_candidate"].to_pylist() == [False, True]
    assert found.fields["streaming"].to_pylist()[1] is True


def test_langchain_keeps_the_outcome_of_a_response_apart() -> None:
    """The status of an OpenAI response stands in LangChain's metadata, without its output."""
    assert [call["finish_reasons"] for call in _calls("langsmith/responses-*")] == [["tool_call"]] * 2 + [["stop"]]


def test_a_block_told_as_python_is_its_text() -> None:
    """An answer that is sent again as `str()` of its block is the same message."""
    calls = _calls("openai-agents-v2/chat4-*")
    assert calls[1]["input"][1]["parts"] == calls[0]["output"][0]["parts"]
    assert repair_message("{'type': 'output_text'} is what it wrote") == {
        "role": "user", "parts": [{"type": "text", "content": "{'type': 'output_text'} is what it wrote"}],
    }  # fmt: skip


def test_blocks_inside_a_text_part_are_parts() -> None:
    """OpenLIT puts Anthropic's list of system blocks where a part's text belongs."""
    batch = decode_logs(captured("openlit/ant_parallel-logs-*"))
    told = [piece.content.system for piece in normalise_logs(batch) if piece.content.system]
    assert told == [[{"type": "text", "content": SYSTEM}]] * 2


def test_an_empty_list_beside_calls_says_nothing() -> None:
    """Cohere's answer that only calls tools has no content; the words `[]` alone are kept."""
    assert [part["type"] for part in _calls("traceloop-cohere/tools-*")[0]["output"][0]["parts"]] == ["tool_call"]
    assert read_messages([{"role": "assistant", "content": "[]"}])[0]["parts"] == [{"type": "text", "content": "[]"}]


def test_answers_beside_the_message_that_has_their_role_are_its_parts() -> None:
    """AutoGen answers all calls of a turn in one message of role `function`; one part each."""
    calls = _calls("openinference-autogen/agent-*")
    answers = [message["parts"] for message in calls[2]["input"] if message["role"] == "tool"]
    assert [[part["response"] for part in parts] for parts in answers] == [
        ['{"city": "Paris", "temp_c": 21}'],
        ['{"city": "Paris", "population": 2102650}'],
    ]


def test_an_output_item_alone_states_how_the_answer_ended() -> None:
    """Langfuse 3 keeps the one item of an OpenAI response: a finished call of a function, or a finished message."""
    assert [call["finish_reasons"] for call in _calls("langfuse-3/responses-*")] == [["tool_call"]] * 2 + [["stop"]]


def test_a_crew_tells_its_conversation_where_it_tells_its_usage() -> None:
    """CrewAI under OpenInference has no model spans: the crew's own carries usage, and what its task said."""
    found = [call for call in _spans("openinference-crewai/one-*") if call["input_tokens"] is not None]
    assert [(call["input_tokens"], call["output_tokens"]) for call in found] == [(99, 15)]
    assert [message["role"] for message in found[0]["input"]] == ["system", "user"]
    words = "Answer 1: I have noted that. The capital of France is Paris."
    assert found[0]["output"] == [{"role": "assistant", "parts": [{"type": "text", "content": words}]}]


def test_the_conventions_own_word_for_the_model_that_answered_wins() -> None:
    """Pydantic AI under OpenInference states the alias as OpenInference's model, the dated name as the conventions'."""
    attributes = {
        "openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini",
        "gen_ai.request.model": "gpt-4o-mini", "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    }  # fmt: skip
    found = normalise_spans(decode_spans([trace_request(span(attributes))])).fields
    assert found["request_model"].to_pylist() == ["gpt-4o-mini"]
    assert found["response_model"].to_pylist() == ["gpt-4o-mini-2024-07-18"]


def test_calls_beside_the_parts_are_parts() -> None:
    """LiteLLM keeps a message's tool calls, and the call that a tool answers, beside its parts."""
    call = {"id": "c1", "type": "function", "index": 0, "function": {"name": "get_weather", "arguments": '{"a": 1}'}}
    told = [
        {"role": "assistant", "parts": [{"type": "text", "content": ""}], "tool_calls": [call]},
        {"role": "tool", "parts": [{"type": "text", "content": "21 C"}], "tool_call_id": "c1"},
    ]
    assert read_messages(told) == [
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "name": "get_weather", "arguments": {"a": 1}, "id": "c1"}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "response": "21 C", "id": "c1"}]},
    ]


def test_tool_definitions_among_the_messages_are_definitions() -> None:
    """Langfuse's handler for LangChain lists them behind the history; a tool's answer that is an object stays one."""
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    answer = {"role": "tool", "content": tool, "tool_call_id": "c1"}
    told = [{"role": "user", "content": "hi"}, answer, {"role": "tool", "content": tool}]
    attributes = {"langfuse.observation.type": "generation", "langfuse.observation.input": json.dumps(told)}
    (content,) = normalise_spans(decode_spans([trace_request(span(attributes))])).contents
    assert [message["role"] for message in content.input or []] == ["user", "tool"]
    assert content.tools == [{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"signature": "x", "thinking": "Hm.", "type": "thinking"}', {"type": "reasoning", "content": "Hm."}),
        (
            '{"id": "rs_1", "summary": [{"text": "Hm.", "type": "summary_text"}], "type": "reasoning"}',
            {"type": "reasoning", "content": "Hm."},
        ),
        ("{'annotations': [], 'text': 'Hm.', 'type': 'output_text'}", {"type": "text", "content": "Hm."}),
        *((words, {"type": "text", "content": words}) for words in ('{"type": "thinking"}', '{"reasoning": 1}')),
    ],
)
def test_a_text_that_is_a_providers_block_is_that_block(text: str, part: dict[str, Any]) -> None:
    """MLflow writes thoughts as JSON in a text part; other JSON that a model wrote stays its words."""
    message = repair_message({"role": "assistant", "parts": [{"type": "text", "content": text}]})
    assert message is not None
    assert [{key: value for key, value in found.items() if key != "id"} for found in message["parts"]] == [part]


@pytest.mark.parametrize(("total", "output"), [(41, 26), (30, 15), (None, 15)])
def test_thoughts_that_only_the_sum_tells_of_are_output(total: int | None, output: int) -> None:
    """Traceloop on Gemini states the candidates' tokens as output, and a total that has the thoughts as well."""
    attributes: dict[str, Any] = {"gen_ai.operation.name": "generate_content", "gen_ai.usage.input_tokens": 15}
    attributes |= {"gen_ai.usage.output_tokens": 15} | ({"gen_ai.usage.total_tokens": total} if total else {})
    request = trace_request(span(attributes), name="opentelemetry.instrumentation.google_generativeai")
    assert normalise_spans(decode_spans([request])).fields["output_tokens"].to_pylist() == [output]
