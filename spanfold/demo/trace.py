"""Builds the spans of one trace: a clock that moves on, a stack of open spans, and the GenAI attributes.

Attributes follow the newest OpenTelemetry GenAI conventions: messages as JSON strings on the span, totals that include
cache and reasoning. Token counts are taken from the texts (four characters a token), so that they fit what was said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from random import Random

from spanfold.demo.world import Model, Service

Value = str | bool | int | float | Sequence[str]
Attributes = dict[str, Value]
Part = Mapping[str, object]

SECOND = 1_000_000_000
DETAILS_EVENT = "gen_ai.client.inference.operation.details"
_HTTP_SCOPE = ("opentelemetry.instrumentation.httpx", "0.66b2")
_AGENT_SCOPE = ("tidewater.agents", "2.1.0")
_PROVIDER_SCOPES = {
    "openai": ("opentelemetry.instrumentation.genai.openai", "1.3b0"),
    "anthropic": ("opentelemetry.instrumentation.genai.anthropic", "1.3b0"),
    "gcp.gemini": ("opentelemetry.instrumentation.google_genai", "1.3b0"),
}
_OTHER_SCOPE = ("opentelemetry.util.genai.handler", "1.3b0")
_ANSWER_PREFIX = {"anthropic": "msg_01", "openai": "chatcmpl-"}


@dataclass(frozen=True, slots=True)
class Event:
    """A span event; `time_ns` is UTC nanoseconds, as all times here."""

    name: str
    time_ns: int
    attributes: Attributes


@dataclass(slots=True)
class Span:
    """One span. While it is open its attributes may grow; `error` becomes the status message."""

    trace_id: int
    span_id: int
    parent_id: int | None
    name: str
    kind: str  # internal | server | client
    scope: tuple[str, str]
    start_ns: int
    end_ns: int = 0
    attributes: Attributes = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """One log event that belongs to a span; its attributes are structured values."""

    trace_id: int
    span_id: int
    time_ns: int
    event_name: str
    scope: tuple[str, str]
    attributes: dict[str, object]


@dataclass(frozen=True, slots=True)
class Failure:
    """How a provider refuses: HTTP status, the class its client raises, and the words."""

    status: int
    error: str
    words: str


RATE_LIMITED = Failure(429, "RateLimitError", "Number of request tokens has exceeded your per-minute rate limit")
SERVER_ERROR = Failure(500, "InternalServerError", "The server had an error while processing your request")
UNAVAILABLE = Failure(503, "ServerError", "The model is overloaded. Please try again later.")


def text(content: str) -> Part:
    return {"type": "text", "content": content}


def attachment(modality: str, mime_type: str, uri: str) -> Part:
    """A document, image or recording that the message only names."""
    return {"type": "uri", "modality": modality, "mime_type": mime_type, "uri": uri}


def tool_call(call_id: str, name: str, arguments: dict[str, object]) -> Part:
    return {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments}


def tool_answer(call_id: str, response: object) -> Part:
    return {"type": "tool_call_response", "id": call_id, "response": response}


class Talk:
    """What one model has been told so far; every call resends all of it, as chat APIs do."""

    def __init__(self, system: str, tools: Sequence[dict[str, object]] = ()) -> None:
        self.system = [text(system)]
        self.tools = list(tools)
        self.messages: list[dict[str, object]] = []
        self.sent_tokens = 0  # of the call before this one: what the provider may have cached
        self._json: list[str] = []
        self._chars = len(system) + len(json.dumps(self.tools))

    def say(self, role: str, *parts: Part, attached_tokens: int = 0) -> None:
        """Adds a message; `attached_tokens` is the size of documents that it only names."""
        message: dict[str, object] = {"role": role, "parts": list(parts)}
        self.messages.append(message)
        self._json.append(json.dumps(message))
        self._chars += len(self._json[-1]) + 4 * attached_tokens

    def tokens(self) -> int:
        return self._chars // 4 + 7

    def messages_json(self) -> str:
        return f"[{','.join(self._json)}]"

    def input_attributes(self) -> Attributes:
        out: Attributes = {
            "gen_ai.system_instructions": json.dumps(self.system),
            "gen_ai.input.messages": self.messages_json(),
        }
        if self.tools:
            out["gen_ai.tool.definitions"] = json.dumps(self.tools)
        return out


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says, and what the call cost in tokens beyond the words."""

    parts: tuple[Part, ...]
    finish: str = "stop"
    reasoning_tokens: int = 0
    stream: bool = False
    tier: str | None = None

    def tokens(self) -> int:
        return max(1, len(json.dumps(self.parts)) // 4) + self.reasoning_tokens


class Trace:
    """One trace under construction. `identity` (session, user, conversation, key) goes onto every GenAI span."""

    def __init__(self, rng: Random, service: Service, version: str, start_ns: int, identity: Attributes) -> None:
        self.rng, self.service, self.version, self.identity = rng, service, version, identity
        self.trace_id = rng.getrandbits(128)
        self.clock = start_ns
        self.spans: list[Span] = []
        self.logs: list[Log] = []
        self._open: list[Span] = []

    def wait(self, seconds: float) -> None:
        """Lets about so much time pass."""
        self.clock += int(seconds * self.rng.uniform(0.8, 1.25) * SECOND) + self.rng.randrange(1000)

    @contextmanager
    def span(
        self, name: str, kind: str, attributes: Attributes, scope: tuple[str, str] = _HTTP_SCOPE
    ) -> Iterator[Span]:
        """Opens a span under the innermost open one; it ends when the block does."""
        parent = self._open[-1].span_id if self._open else None
        span = Span(self.trace_id, self.rng.getrandbits(64), parent, name, kind, scope, self.clock, 0, attributes)
        self._open.append(span)
        yield span
        self._open.pop()
        span.end_ns = self.clock
        self.spans.append(span)

    def agent(self, operation: str, name: str) -> AbstractContextManager[Span]:
        """An `invoke_agent` or `invoke_workflow` span around what follows."""
        named = "gen_ai.workflow.name" if operation == "invoke_workflow" else "gen_ai.agent.name"
        attributes: Attributes = {"gen_ai.operation.name": operation, named: name, **self.identity}
        return self.span(f"{operation} {name}", "internal", attributes, _AGENT_SCOPE)

    def http(self, method: str, url: str, seconds: float, status: int = 200) -> None:
        """A finished HTTP client span."""
        host = url.split("/")[2]
        attributes: Attributes = {"http.request.method": method, "url.full": url, "server.address": host}
        with self.span(method, "client", attributes) as span:
            self.wait(seconds)
            span.attributes["http.response.status_code"] = status

    def database(self, system: str, statement: str, seconds: float) -> None:
        """A finished database client span; its name is the statement's first word and table."""
        head = statement.split()
        table = head[head.index("INTO" if head[0] == "INSERT" else "FROM") + 1]
        attributes: Attributes = {
            "db.system.name": system,
            "db.query.text": statement,
            "db.operation.name": head[0],
            "server.address": "db.tidewater.example",
        }
        with self.span(f"{head[0]} {table}", "client", attributes, ("opentelemetry.instrumentation.psycopg", "0.66b2")):
            self.wait(seconds)

    def tool(self, call: Part, description: str, result: object) -> AbstractContextManager[Span]:
        """An `execute_tool` span for a tool_call part; what the tool itself does goes inside."""
        attributes: Attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": str(call["name"]),
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": str(call["id"]),
            "gen_ai.tool.description": description,
            "gen_ai.tool.call.arguments": json.dumps(call["arguments"]),
            "gen_ai.tool.call.result": json.dumps(result),
            **self.identity,
        }
        return self.span(f"execute_tool {call['name']}", "internal", attributes, _AGENT_SCOPE)

    def chat(self, model: Model, talk: Talk, answer: Answer, more: Attributes | None = None) -> Span:
        """One model call: sends the talk, adds the answer to it."""
        tokens = talk.tokens()
        with self._inference(model, talk, answer.stream, more) as span:
            first = model.first_chunk * self.rng.uniform(0.7, 1.6)
            self.clock += int((first + answer.tokens() / model.tokens_per_second) * SECOND)
            span.attributes |= self._response(model, answer.finish)
            span.attributes |= self._usage(model, talk, answer, tokens)
            if answer.stream:
                span.attributes["gen_ai.response.time_to_first_chunk"] = round(first, 4)
        said = {"role": "assistant", "parts": list(answer.parts)}
        span.attributes["gen_ai.output.messages"] = json.dumps([said | {"finish_reason": answer.finish}])
        talk.say("assistant", *answer.parts)
        talk.sent_tokens = tokens
        return span

    def canceled_chat(self, model: Model, talk: Talk, partial: str, more: Attributes | None = None) -> Span:
        """A stream whose reader left: some words, no usage."""
        with self._inference(model, talk, True, more) as span:
            self.clock += int((model.first_chunk + len(partial) / 4 / model.tokens_per_second) * SECOND)
            span.attributes |= self._response(model, "error")
            span.attributes["gen_ai.response.time_to_first_chunk"] = model.first_chunk
            span.attributes["error.type"] = "asyncio.CancelledError"
        said = {"role": "assistant", "parts": [text(partial)], "finish_reason": "error"}
        span.attributes["gen_ai.output.messages"] = json.dumps([said])
        return span

    def failed_chat(self, model: Model, talk: Talk, failure: Failure, more: Attributes | None = None) -> Span:
        """A call that the provider refused: an error status and an exception event, no usage."""
        with self._inference(model, talk, False, more) as span:
            self.wait(0.2 if failure.status == 429 else 2.5)
            self.fail(span, f"{model.provider.split('.')[-1]}.{failure.error}", f"{failure.status} - {failure.words}")
        return span

    def fail(self, span: Span, error_type: str, words: str) -> None:
        """Marks a span as failed, the way an instrumentation records an exception."""
        message = f"Error code: {words}"
        where = 'Traceback (most recent call last):\n  File "/srv/app/calls.py", line 88, in send'
        span.error = message
        span.attributes["error.type"] = error_type
        raised: Attributes = {"exception.type": error_type, "exception.message": message}
        raised["exception.stacktrace"] = f"{where}\n{error_type}: {message}"
        span.events.append(Event("exception", self.clock, raised))

    @contextmanager
    def _inference(self, model: Model, talk: Talk, stream: bool, more: Attributes | None) -> Iterator[Span]:
        attributes: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": model.provider,
            "gen_ai.request.model": model.request,
            "gen_ai.request.max_tokens": 4096,
            "server.address": model.host,
            "server.port": 11434 if model.provider == "ollama" else 443,
            **talk.input_attributes(),
            **self.identity,
            **(more or {}),
        }
        if stream:
            attributes["gen_ai.request.stream"] = True
        scope = _PROVIDER_SCOPES.get(model.provider, _OTHER_SCOPE)
        with self.span(f"chat {model.request}", "client", attributes, scope) as span:
            yield span

    def _response(self, model: Model, finish: str) -> Attributes:
        return {
            "gen_ai.response.model": model.response,
            "gen_ai.response.id": f"{_ANSWER_PREFIX.get(model.provider, '')}{self.rng.getrandbits(96):024x}",
            "gen_ai.response.finish_reasons": [finish],
        }

    def _usage(self, model: Model, talk: Talk, answer: Answer, tokens: int) -> Attributes:
        usage: Attributes = {"gen_ai.usage.input_tokens": tokens, "gen_ai.usage.output_tokens": answer.tokens()}
        if model.provider == "anthropic" and talk.tools:  # the agents mark their prefix for caching
            usage["gen_ai.usage.cache_read.input_tokens"] = talk.sent_tokens
            usage["gen_ai.usage.cache_write.input_tokens"] = tokens - talk.sent_tokens
        elif talk.sent_tokens >= 1024:
            usage["gen_ai.usage.cache_read.input_tokens"] = talk.sent_tokens // 128 * 128
        if answer.reasoning_tokens:
            usage["gen_ai.usage.reasoning.output_tokens"] = answer.reasoning_tokens
        if answer.tier:
            usage["openai.request.service_tier"] = usage["openai.response.service_tier"] = answer.tier
        return usage
