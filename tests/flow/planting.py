"""Requests with a word of its own planted in every place where content, or anything private, may stand."""

from __future__ import annotations

import json
import random
import string
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.flow.sending import NOON, any_value, span

PREFIX = "qzkanarium"
LONG = " and so on" * 30  # makes a text longer than any that may be clear


class Plants:
    """Hands out words, each under the name of the place where it is planted."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.places: dict[str, str] = {}  # word -> place

    def __call__(self, place: str) -> str:
        word = PREFIX + "".join(self._rng.choices(string.ascii_lowercase, k=14))
        self.places[word] = place
        return word

    def at(self, *places: str) -> set[str]:
        return {word for word, place in self.places.items() if place in places}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "content": words}


def event(name: str, **attributes: Any) -> Span.Event:
    return Span.Event(
        name=name,
        time_unix_nano=NOON,
        attributes=[KeyValue(key=k.replace("__", "."), value=any_value(v)) for k, v in attributes.items()],
    )


def call(number: int, **attributes: Any) -> Span:
    """A call of the newest conventions; keys with `__` for dots, JSON for what is no text or number."""
    return span(
        1,
        number,
        gen_ai__operation__name="chat",
        gen_ai__provider__name="openai",
        gen_ai__request__model="gpt-4o-mini",
        gen_ai__usage__input_tokens=10,
        **attributes,
    )


def newest(plant: Plants) -> list[Span]:
    """Every member of the newest conventions that can hold what somebody said."""
    history = [
        {"role": "user", "parts": [text(plant("input text"))]},
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": plant("reasoning resent")},
                {"type": "tool_call", "id": "c1", "name": "look", "arguments": {"where": plant("tool call arguments")}},
            ],
        },
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "c1", "response": {"a": [plant("tool call response")]}}],
        },
        {
            "role": "user",
            "parts": [
                {"type": "uri", "uri": f"https://example.org/{plant('uri part')}", "modality": "image"},
                {"type": "blob", "mime_type": "text/plain", "content": plant("blob part"), "modality": "text"},
            ],
        },
    ]
    answer = [
        {
            "role": "assistant",
            "finish_reason": "stop",
            "parts": [
                {"type": "reasoning", "content": plant("reasoning")},
                text(plant("output text")),
                {"type": "made_up", "anything": plant("unknown part")},
            ],
        }
    ]
    tools = [
        {
            "type": "function",
            "name": "look",
            "description": plant("tool description"),
            "parameters": {
                "type": "object",
                "properties": {"where": {"type": "string", "description": plant("tool parameter description")}},
            },
        }
    ]
    structured = [{"role": "user", "parts": [text(plant("structured input"))]}]
    return [
        call(
            1,
            **{
                "gen_ai.system_instructions": json.dumps([text(plant("system text"))]),
                "gen_ai.input.messages": json.dumps(history),
                "gen_ai.output.messages": json.dumps(answer),
                "gen_ai.tool.definitions": json.dumps(tools),
            },
        ),
        call(
            2,
            **{
                "gen_ai.input.messages": structured,
                "gen_ai.output.messages": [{"role": "assistant", "parts": [text(plant("structured output"))]}],
            },
        ),
        call(
            3,
            **{
                "gen_ai.input.messages": "no JSON: " + plant("content that does not parse"),
                "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"content": "' + plant("JSON cut off"),
            },
        ),
        span(
            1,
            4,
            name="execute_tool look",
            gen_ai__operation__name="execute_tool",
            gen_ai__tool__call__arguments=json.dumps({"where": plant("tool span arguments")}),
            gen_ai__tool__call__result=plant("tool span result"),
        ),
        span(
            1,
            5,
            name="retrieval",
            gen_ai__operation__name="retrieval",
            gen_ai__retrieval__query__text=plant("retrieval query"),
            gen_ai__retrieval__documents=json.dumps([{"id": "d1", "content": plant("retrieval document"), "score": 1}]),
        ),
        span(
            1,
            6,
            name="embeddings",
            gen_ai__operation__name="embeddings",
            gen_ai__request__model="text-embedding-3-small",
            gen_ai__embeddings__input=[plant("embeddings input")],
        ),
        span(
            1,
            7,
            name="search_memory",
            gen_ai__operation__name="search_memory",
            gen_ai__memory__query__text=plant("memory query"),
            gen_ai__memory__records=json.dumps([{"content": plant("memory record")}]),
        ),
    ]


def failing(plant: Plants) -> list[Span]:
    """Errors, databases, HTTP, attributes that nobody knows, events and links."""
    broken = span(1, 11, name="broken", error__message=plant("error.message"), error__type="timeout")
    broken.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=plant("status message")))
    broken.events.append(
        event(
            "exception",
            exception__type="ValueError",
            exception__message=plant("exception message"),
            exception__stacktrace="Traceback:\n  " + plant("exception stack"),
        )
    )
    outside = span(
        1,
        12,
        name="GET",
        **{
            "db.statement": plant("db.statement"),
            "db.query.text": plant("db.query.text"),
            "db.query.parameter.name": plant("db parameter"),
            "http.request.body": plant("http request body"),
            "http.response.body.content": plant("http response body"),
            "http.request.header.x": [plant("http header")],
            "url.query": "q=" + plant("url.query"),
        },
    )
    unknown = span(
        1,
        13,
        name="unknown",
        **{
            "app.blurb": plant("long unknown attribute") + LONG,
            "app.list": ["x", plant("long text in a list") + LONG],
            "app.map": {"a": {"b": plant("long text in a map") + LONG}, "prompt": plant("speaking member of a map")},
            "app.user.question": plant("short attribute of a speaking name"),
            "app.raw": b"",
        },
    )
    next(a for a in unknown.attributes if a.key == "app.raw").value.CopyFrom(
        AnyValue(bytes_value=plant("readable bytes").encode())
    )
    noted = span(1, 14, name="noted")
    noted.events.append(event("note", message=plant("event attribute"), blurb=plant("long event attribute") + LONG))
    link = noted.links.add(trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\1")
    link.attributes.add(key="summary.text").value.string_value = plant("link attribute")
    return [broken, outside, unknown, noted]


def other_dialects(plant: Plants) -> list[Span]:
    """Older conventions and frameworks, content on spans and in span events."""
    single, whole = call(21, gen_ai__system="openai"), call(20, gen_ai__system="openai")
    single.events.extend(
        [
            event("gen_ai.user.message", content=plant("user event"), role="user"),
            event("gen_ai.choice", index=0, message=json.dumps({"content": plant("choice event")})),
        ]
    )
    prompt = json.dumps([{"role": "user", "content": plant("prompt event")}])
    whole.events.append(event("gen_ai.content.prompt", gen_ai__prompt=prompt))
    return [
        single,
        whole,
        span(
            1,
            22,
            **{
                "openinference.span.kind": "LLM",
                "llm.model_name": "gpt-4o",
                "llm.input_messages.0.message.role": "user",
                "llm.input_messages.0.message.content": plant("openinference message"),
                "output.value": plant("openinference output"),
                "metadata": json.dumps({"k": plant("metadata") + LONG}),
            },
        ),
        span(
            1,
            23,
            **{
                "traceloop.span.kind": "workflow",
                "traceloop.entity.input": json.dumps({"q": plant("traceloop input")}),
                "gen_ai.prompt.0.content": plant("traceloop prompt"),
                "gen_ai.prompt.0.role": "user",
            },
        ),
        span(
            1, 24, **{"langfuse.observation.type": "generation", "langfuse.observation.input": plant("langfuse input")}
        ),
        span(
            1,
            25,
            **{
                "ai.operationId": "ai.generateText.doGenerate",
                "ai.response.text": plant("vercel answer"),
                "ai.prompt.messages": json.dumps([{"role": "user", "content": plant("vercel prompt")}]),
            },
        ),
    ]


def log_request(plant: Plants) -> bytes:
    """Bodies, speaking attributes, and content events of span 26, which has none of its own."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    trace, number = (1).to_bytes(16, "big"), (26).to_bytes(8, "big")
    records.add(time_unix_nano=NOON, trace_id=trace).body.string_value = plant("log body")
    structured = records.add(time_unix_nano=NOON + 1, trace_id=trace)
    structured.body.CopyFrom(any_value({"deep": [plant("structured log body")]}))
    structured.attributes.append(KeyValue(key="exception.message", value=any_value(plant("exception in a log"))))
    structured.attributes.append(KeyValue(key="prompt", value=any_value(plant("log attribute"))))
    details = records.add(
        time_unix_nano=NOON + 2, trace_id=trace, span_id=number, event_name="gen_ai.client.inference.operation.details"
    )
    for key, role in (("gen_ai.input.messages", "user"), ("gen_ai.output.messages", "assistant")):
        said = [{"role": role, "parts": [text(plant(f"details event {role}"))]}]
        details.attributes.append(KeyValue(key=key, value=any_value(said)))
    records.add(time_unix_nano=NOON + 3).body.string_value = plant("log of no trace")
    return request.SerializeToString()


def metric_request(plant: Plants) -> bytes:
    request = ExportMetricsServiceRequest()
    metric = (
        request.resource_metrics.add()
        .scope_metrics.add()
        .metrics.add(name="m", description=plant("clear: description"))
    )
    point = metric.gauge.data_points.add(time_unix_nano=NOON, as_int=1)
    point.attributes.append(KeyValue(key="app.blurb", value=any_value(plant("point attribute") + LONG)))
    exemplar = point.exemplars.add(as_int=1)
    exemplar.filtered_attributes.append(KeyValue(key="prompt", value=any_value(plant("exemplar attribute"))))
    return request.SerializeToString()


def from_a_talkative_process(plant: Plants) -> bytes:
    """A span whose resource and scope have attributes as private as a span's own may be."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.append(KeyValue(key="service.name", value=any_value("talkative")))
    resource.resource.attributes.append(KeyValue(key="app.blurb", value=any_value(plant("resource attribute") + LONG)))
    scope = resource.scope_spans.add()
    scope.scope.attributes.append(KeyValue(key="prompt", value=any_value(plant("scope attribute"))))
    scope.spans.append(span(1, 30))
    return request.SerializeToString()


def clear_by_design(plant: Plants) -> Span:
    """What may be read without a key: names, identifiers, tags, short values whose keys do not speak of content."""
    made = span(
        1,
        31,
        name=plant("clear: span name"),
        **{
            "gen_ai.operation.name": "chat",
            "gen_ai.agent.name": plant("clear: agent name"),
            "user.id": plant("clear: user"),
            "gen_ai.request.model": plant("clear: model"),
            "tag.tags": [plant("clear: tag")],
            "session.id": plant("clear: session"),
            "app.region": plant("clear: short unknown attribute"),
            "url.full": f"https://x.org/{plant('clear: url')}",
            "error.type": plant("clear: error type"),
        },
    )
    made.events.append(event(plant("clear: event name"), region=plant("clear: event attribute")))
    made.trace_state = f"v={plant('clear: trace state')}"
    return made
