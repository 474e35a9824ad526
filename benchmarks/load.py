"""Generates OTLP trace requests like a busy agent platform sends: seeded, so that two runs compare.

Conversations of 20 turns; a turn is one trace of four spans (invoke_agent, chat, execute_tool, chat); 5 services,
6 models, 14 days. `light` spans carry about 25 attributes and no content; on a `heavy` chat span stands the whole
history, up to 80 messages of 300-1500 bytes. `alive` conversations interleave in time, as they do on a busy service.

    python benchmarks/load.py out.bin --spans 20000 --heavy --alive 250
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

MODELS = (
    ("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-5", "gpt-5-2025-08-07"),
    ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ("anthropic", "claude-haiku-4-5", "claude-haiku-4-5-20251001"),
    ("gcp.gemini", "gemini-2.5-pro", "gemini-2.5-pro"),
    ("mistral_ai", "mistral-large-latest", "mistral-large-2411"),
)
SERVICES = ("checkout-agent", "support-agent", "research-agent", "report-writer", "code-helper")
TOOLS = ("search_orders", "get_weather", "run_query", "send_mail", "read_file")
TURNS = 20
BUSY_WINDOW = 900_000_000_000  # ns in which the conversations that interleave begin
MAX_SPANS = 512
MAX_BYTES = 4_000_000
DEFAULT_START = 1_762_300_800_000_000_000  # 2025-11-05T00:00:00Z
DAY = 86_400_000_000_000  # nanoseconds
_MS = 1_000_000

Message = dict[str, object]
Value = str | int | float | bool | list[str]


@dataclass(frozen=True, slots=True)
class Load:
    """What to generate. `start` and `days` place the spans in time (UTC nanoseconds, days)."""

    spans: int
    heavy: bool = False
    alive: int = 1
    seed: int = 7
    start: int = DEFAULT_START
    days: float = 14
    request_spans: int = MAX_SPANS  # at most so many spans in a request


class _Text:
    """Word-model text: a little more compressible than English prose."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        letters = "etaoinshrdlucmfwypvbgkjqxz"
        often = [12, 9, 8, 8, 7, 7, 6, 6, 6, 4, 4, 3, 3, 3, 2, 2, 2, 2, 1, 1.5, 2, 0.8, 0.2, 0.1, 0.2, 0.1]
        words = ["".join(rng.choices(letters, often, k=rng.randint(2, 10))) for _ in range(4000)]
        self.pool = rng.choices(words, [1 / (i + 8) for i in range(len(words))], k=200_000)

    def make(self) -> str:
        size = self.rng.randint(300, 1500)
        start = self.rng.randrange(len(self.pool) - 400)
        picked = self.pool[start : start + size // 4]
        self.rng.shuffle(picked)
        return " ".join(picked)[:size]


def _value(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        out = AnyValue()
        out.array_value.values.extend(AnyValue(string_value=text) for text in value)
        return out
    return AnyValue(string_value=value)


@dataclass(frozen=True, slots=True)
class Request:
    """A serialised ExportTraceServiceRequest, and what it holds."""

    body: bytes
    spans: int
    input_tokens: int
    output_tokens: int


@dataclass(slots=True)
class _Held:
    """The spans of one service that wait for their request to be full."""

    spans: list[Span] = field(default_factory=list)
    size: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Conversation:
    """One conversation: the four spans of each turn with its growing history; counts the tokens of its last turn."""

    def __init__(self, rng: random.Random, text: _Text | None, start: int) -> None:
        self.rng, self.text, self.clock = rng, text, start
        self.id = f"{rng.getrandbits(128):032x}"
        self.user = f"user-{rng.randrange(5000)}"
        self.service = rng.randrange(len(SERVICES))
        self.provider, self.model, self.response_model = MODELS[rng.randrange(len(MODELS))]
        self.messages: list[Message] = []
        self.input_tokens = self.output_tokens = 0

    def turn(self) -> list[Span]:
        rng = self.rng
        self.input_tokens = self.output_tokens = 0
        trace, root, tool = rng.randbytes(16), rng.randbytes(8), rng.choice(TOOLS)
        tool_id, begin = f"call_{rng.getrandbits(48):012x}", self.clock
        if self.text is not None:
            self.messages.append({"role": "user", "parts": [{"type": "text", "content": self.text.make()}]})
        cuts = [begin + rng.randint(1, 40) * _MS]
        for low, high in ((300, 4000), (5, 200), (10, 900), (1, 30), (300, 5000)):
            cuts.append(cuts[-1] + rng.randint(low, high) * _MS + rng.randrange(_MS))
        first = self._chat(trace, root, cuts[0], cuts[1], tool_id, tool)
        action = self._tool(trace, root, cuts[2], cuts[3], tool_id, tool)
        second = self._chat(trace, root, cuts[4], cuts[5], None, tool)
        self.clock = cuts[5] + rng.randint(2000, 60000) * _MS
        agent: dict[str, Value] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": SERVICES[self.service],
            "gen_ai.conversation.id": self.id,
            "user.id": self.user,
            "session.id": self.id[:16],
        }
        name = f"invoke_agent {SERVICES[self.service]}"
        return [
            first,
            action,
            second,
            _span((trace, root, b""), name, Span.SPAN_KIND_INTERNAL, (begin, cuts[5] + _MS), agent),
        ]

    def _tool(self, trace: bytes, root: bytes, start: int, end: int, tool_id: str, tool: str) -> Span:
        attributes: dict[str, Value] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": tool_id,
            "gen_ai.conversation.id": self.id,
        }
        if self.text is not None:
            answer = self.text.make()
            part = {"type": "tool_call_response", "id": tool_id, "response": answer}
            self.messages.append({"role": "tool", "parts": [part]})
            attributes["gen_ai.tool.call.result"] = answer
        return _span(
            (trace, self.rng.randbytes(8), root),
            f"execute_tool {tool}",
            Span.SPAN_KIND_INTERNAL,
            (start, end),
            attributes,
        )

    def _chat(self, trace: bytes, parent: bytes, start: int, end: int, tool_id: str | None, tool: str) -> Span:
        attributes = self._chat_attributes("tool_call" if tool_id else "stop")
        if self.text is not None:
            body = self.text.make()
            part: Message = {"type": "text", "content": body}
            if tool_id:
                part = {"type": "tool_call", "id": tool_id, "name": tool, "arguments": {"query": body}}
            answer: Message = {"role": "assistant", "parts": [part]}
            attributes["gen_ai.input.messages"] = orjson.dumps(self.messages).decode()
            attributes["gen_ai.output.messages"] = orjson.dumps([answer | {"finish_reason": "stop"}]).decode()
            self.messages.append(answer)
        return _span(
            (trace, self.rng.randbytes(8), parent),
            f"chat {self.model}",
            Span.SPAN_KIND_CLIENT,
            (start, end),
            attributes,
        )

    def _chat_attributes(self, finish: str) -> dict[str, Value]:
        rng = self.rng
        tokens = rng.randint(200, 12000)
        attributes: dict[str, Value] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self.provider,
            "gen_ai.request.model": self.model,
            "gen_ai.response.model": self.response_model,
            "gen_ai.response.id": f"chatcmpl-{rng.getrandbits(96):024x}",
            "gen_ai.conversation.id": self.id,
            "gen_ai.request.temperature": 0.2,
            "gen_ai.request.top_p": 1.0,
            "gen_ai.request.max_tokens": 1024,
            "gen_ai.request.seed": 7,
            "gen_ai.output.type": "text",
            "gen_ai.response.finish_reasons": [finish],
            "gen_ai.usage.input_tokens": tokens,
            "gen_ai.usage.output_tokens": rng.randint(10, 900),
            "gen_ai.usage.cache_read.input_tokens": tokens // 2,
            "gen_ai.agent.name": SERVICES[self.service],
            "server.address": "api.example.com",
            "server.port": 443,
            "user.id": self.user,
            "session.id": self.id[:16],
            "app.tier": "gold" if rng.random() < 0.3 else "free",
            "app.region": rng.choice(["eu", "us", "ap"]),
            "app.attempt": 1,
            "app.experiment": "b12",
            "gen_ai.response.time_to_first_chunk": round(rng.random(), 3),
            "gen_ai.request.stream": True,
        }
        self.input_tokens += tokens
        self.output_tokens += int(str(attributes["gen_ai.usage.output_tokens"]))
        return attributes


def _span(
    ids: tuple[bytes, bytes, bytes],
    name: str,
    kind: Span.SpanKind.ValueType,
    times: tuple[int, int],
    attributes: Mapping[str, Value],
) -> Span:
    trace, span, parent = ids
    return Span(
        trace_id=trace,
        span_id=span,
        parent_span_id=parent,
        name=name,
        kind=kind,
        start_time_unix_nano=times[0],
        end_time_unix_nano=times[1],
        flags=256,
        attributes=[KeyValue(key=key, value=_value(value)) for key, value in attributes.items()],
    )


def turns(load: Load) -> Iterator[tuple[Conversation, list[Span]]]:
    """Yields (conversation, spans of one turn) until `spans` spans were made; `alive` conversations interleave."""
    rng = random.Random(load.seed)
    text = _Text(rng) if load.heavy else None
    total = max(1, load.spans // (4 * TURNS))
    step = int(load.days * DAY) // total if load.alive == 1 else BUSY_WINDOW // load.alive
    made = begun = 0
    talks: list[tuple[Conversation, int]] = []
    while made < load.spans:
        while len(talks) < load.alive and begun < total + load.alive:
            talks.append((Conversation(rng, text, load.start + begun * step), 0))
            begun += 1
        index = rng.randrange(len(talks))
        talk, count = talks[index]
        batch = talk.turn()
        made += len(batch)
        talks[index] = (talk, count + 1)
        if count + 1 == TURNS:
            talks.pop(index)
        yield talk, batch


def requests(load: Load) -> Iterator[Request]:
    """Requests of one service each: at most `request_spans` spans and 4,000,000 bytes."""
    pending: dict[int, _Held] = {}
    for talk, batch in turns(load):
        size = sum(span.ByteSize() for span in batch)
        held = pending.setdefault(talk.service, _Held())
        if held.spans and (len(held.spans) + len(batch) > load.request_spans or held.size + size > MAX_BYTES):
            yield _request(talk.service, held)
            pending[talk.service] = held = _Held()
        held.spans.extend(batch)
        held.size += size
        held.input_tokens += talk.input_tokens
        held.output_tokens += talk.output_tokens
    yield from (_request(service, held) for service, held in pending.items() if held.spans)


def _request(service: int, held: _Held) -> Request:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    for key, value in (
        ("service.name", SERVICES[service]),
        ("service.version", "1.4.2"),
        ("service.namespace", "shop"),
        ("deployment.environment.name", "production"),
        ("telemetry.sdk.language", "python"),
    ):
        resource.resource.attributes.add(key=key).value.string_value = value
    scope = resource.scope_spans.add()
    scope.scope.name, scope.scope.version = "opentelemetry.instrumentation.genai.openai", "1.3b0"
    scope.spans.extend(held.spans)
    return Request(request.SerializeToString(), len(held.spans), held.input_tokens, held.output_tokens)


@dataclass(frozen=True, slots=True)
class Written:
    """What a file holds; the token sums are what a store has to give back."""

    requests: int
    spans: int
    bytes: int
    input_tokens: int
    output_tokens: int


def write(path: Path, load: Load) -> Written:
    """Writes the requests to a file: for each 4 bytes body length, 4 bytes span count (big endian), the body."""
    made = [0, 0, 0, 0, 0]
    with path.open("wb") as file:
        for request in requests(load):
            file.write(len(request.body).to_bytes(4, "big") + request.spans.to_bytes(4, "big") + request.body)
            row = (1, request.spans, len(request.body), request.input_tokens, request.output_tokens)
            made = [total + value for total, value in zip(made, row, strict=True)]
    return Written(*made)


def read(path: Path) -> list[tuple[bytes, int]]:
    """The requests of a file that `write` made."""
    found = []
    with path.open("rb") as file:
        while head := file.read(8):
            found.append((file.read(int.from_bytes(head[:4], "big")), int.from_bytes(head[4:], "big")))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="file of requests, each behind 4 bytes length and 4 bytes span count")
    parser.add_argument("--spans", type=int, default=200_000)
    parser.add_argument("--heavy", action="store_true")
    parser.add_argument("--alive", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    made = write(args.out, Load(args.spans, args.heavy, args.alive, args.seed))
    print(f"{made.spans} spans, {made.bytes} bytes, {made.bytes / made.spans:.0f} bytes/span")


if __name__ == "__main__":
    main()
