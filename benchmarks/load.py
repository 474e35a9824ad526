"""Generates OTLP trace requests like a busy agent platform sends: seeded, so that two runs compare.

Conversations of 20 turns; a turn is one trace of four spans (invoke_agent, chat, execute_tool, chat); 5 services,
6 models, 14 days. `light` spans carry about 25 attributes and no content; on a `heavy` chat span stands the whole
history, up to 80 messages of 300-1500 bytes. `alive` conversations interleave in time, as they do on a busy service.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

MODELS = [
    ("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-5", "gpt-5-2025-08-07"),
    ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ("anthropic", "claude-haiku-4-5", "claude-haiku-4-5-20251001"),
    ("gcp.gemini", "gemini-2.5-pro", "gemini-2.5-pro"),
    ("mistral_ai", "mistral-large-latest", "mistral-large-2411"),
]
SERVICES = ["checkout-agent", "support-agent", "research-agent", "report-writer", "code-helper"]
TOOLS = ["search_orders", "get_weather", "run_query", "send_mail", "read_file"]
TURNS = 20
DAYS = 14
MAX_SPANS = 512
MAX_BYTES = 4_000_000
DEFAULT_START = 1_762_300_800_000_000_000  # 2025-11-05T00:00:00Z


def _words(rng: random.Random, count: int = 4000) -> list[str]:
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    weights = [12, 9, 8, 8, 7, 7, 6, 6, 6, 4, 4, 3, 3, 3, 2, 2, 2, 2, 1, 1.5, 2, 0.8, 0.2, 0.1, 0.2, 0.1]
    return ["".join(rng.choices(letters, weights, k=rng.randint(2, 10))) for _ in range(count)]


class _Text:
    """Word-model text: a little more compressible than English prose."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.words = _words(rng)
        self.weights = [1 / (i + 8) for i in range(len(self.words))]
        self.pool = rng.choices(self.words, self.weights, k=200_000)

    def make(self, low: int, high: int) -> str:
        size = self.rng.randint(low, high)
        start = self.rng.randrange(len(self.pool) - 400)
        picked = self.pool[start : start + size // 4]
        self.rng.shuffle(picked)
        return " ".join(picked)[:size]


def _value(value: object) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        out = AnyValue()
        out.array_value.values.extend(AnyValue(string_value=str(x)) for x in value)
        return out
    return AnyValue(string_value=str(value))


def _span(trace: bytes, span: bytes, parent: bytes, name: str, kind: int, start: int, end: int, **attrs: object) -> Span:
    return Span(
        trace_id=trace, span_id=span, parent_span_id=parent, name=name, kind=kind,  # type: ignore[arg-type]
        start_time_unix_nano=start, end_time_unix_nano=end, flags=256,
        attributes=[KeyValue(key=k.replace("__", "."), value=_value(v)) for k, v in attrs.items()],
    )


class Conversation:
    """One conversation: yields the four spans of each turn with its growing history."""

    def __init__(self, rng: random.Random, text: _Text | None, start: int) -> None:
        self.rng, self.text, self.clock = rng, text, start
        self.id = f"{rng.getrandbits(128):032x}"
        self.user = f"user-{rng.randrange(5000)}"
        self.service = rng.randrange(len(SERVICES))
        self.provider, self.model, self.response_model = MODELS[rng.randrange(len(MODELS))]
        self.messages: list[dict[str, object]] = []

    def _say(self, role: str, kind: str = "text", **extra: object) -> dict[str, object]:
        assert self.text is not None
        body = self.text.make(300, 1500)
        if kind == "tool_call":
            part = {"type": "tool_call", "id": extra["id"], "name": extra["tool"], "arguments": {"query": body}}
        elif kind == "tool_call_response":
            part = {"type": "tool_call_response", "id": extra["id"], "response": body}
        else:
            part = {"type": "text", "content": body}
        return {"role": role, "parts": [part]}

    def _chat(self, trace: bytes, parent: bytes, start: int, end: int, tool_id: str | None, tool: str) -> Span:
        rng = self.rng
        tokens = rng.randint(200, 12000)
        attrs: dict[str, object] = {
            "gen_ai__operation__name": "chat", "gen_ai__provider__name": self.provider,
            "gen_ai__request__model": self.model, "gen_ai__response__model": self.response_model,
            "gen_ai__response__id": f"chatcmpl-{rng.getrandbits(96):024x}",
            "gen_ai__conversation__id": self.id, "gen_ai__request__temperature": 0.2, "gen_ai__request__top_p": 1.0,
            "gen_ai__request__max_tokens": 1024, "gen_ai__request__seed": 7, "gen_ai__output__type": "text",
            "gen_ai__response__finish_reasons": ["tool_call" if tool_id else "stop"],
            "gen_ai__usage__input_tokens": tokens, "gen_ai__usage__output_tokens": rng.randint(10, 900),
            "gen_ai__usage__cache_read__input_tokens": tokens // 2, "gen_ai__agent__name": SERVICES[self.service],
            "server__address": "api.example.com", "server__port": 443, "user__id": self.user,
            "session__id": self.id[:16], "app__tier": "gold" if rng.random() < 0.3 else "free",
            "app__region": rng.choice(["eu", "us", "ap"]), "app__attempt": 1, "app__experiment": "b12",
            "gen_ai__response__time_to_first_chunk": round(rng.random(), 3), "gen_ai__request__stream": True,
        }
        if self.text is not None:
            answer = self._say("assistant", "tool_call" if tool_id else "text", id=tool_id, tool=tool)
            attrs["gen_ai__input__messages"] = orjson.dumps(self.messages).decode()
            attrs["gen_ai__output__messages"] = orjson.dumps([answer | {"finish_reason": "stop"}]).decode()
            self.messages.append(answer)
        return _span(trace, rng.randbytes(8), parent, f"chat {self.model}", 3, start, end, **attrs)

    def turn(self) -> list[Span]:
        rng = self.rng
        trace, root, tool = rng.randbytes(16), rng.randbytes(8), rng.choice(TOOLS)
        tool_id, begin = f"call_{rng.getrandbits(48):012x}", self.clock
        if self.text is not None:
            self.messages.append(self._say("user"))
        ms = 1_000_000
        cuts = [begin + rng.randint(1, 40) * ms]
        for low, high in ((300, 4000), (5, 200), (10, 900), (1, 30), (300, 5000)):
            cuts.append(cuts[-1] + rng.randint(low, high) * ms + rng.randrange(ms))
        first = self._chat(trace, root, cuts[0], cuts[1], tool_id, tool)
        extra: dict[str, object] = {}
        if self.text is not None:
            answer = self._say("tool", "tool_call_response", id=tool_id)
            extra["gen_ai__tool__call__result"] = answer["parts"][0]["response"]  # type: ignore[index]
            self.messages.append(answer)
        action = _span(trace, rng.randbytes(8), root, f"execute_tool {tool}", 1, cuts[2], cuts[3],
                       gen_ai__operation__name="execute_tool", gen_ai__tool__name=tool, gen_ai__tool__type="function",
                       gen_ai__tool__call__id=tool_id, gen_ai__conversation__id=self.id, **extra)
        second = self._chat(trace, root, cuts[4], cuts[5], None, tool)
        self.clock = cuts[5] + rng.randint(2000, 60000) * ms
        agent = _span(trace, root, b"", f"invoke_agent {SERVICES[self.service]}", 1, begin, cuts[5] + ms,
                      gen_ai__operation__name="invoke_agent", gen_ai__agent__name=SERVICES[self.service],
                      gen_ai__conversation__id=self.id, user__id=self.user, session__id=self.id[:16])
        return [first, action, second, agent]


def turns(spans: int, heavy: bool, seed: int, alive: int, start: int, days: int = DAYS) -> Iterator[tuple[int, list[Span]]]:
    """Yields (service index, spans of one turn) until `spans` spans were made; `alive` conversations interleave."""
    rng = random.Random(seed)
    text = _Text(rng) if heavy else None
    total = max(1, spans // (4 * TURNS))
    step = days * 86_400_000_000_000 // total
    made = begun = 0
    open_: list[tuple[Conversation, int]] = []
    while made < spans:
        while len(open_) < alive and begun < total + alive:
            open_.append((Conversation(rng, text, start + begun * step), 0))
            begun += 1
        index = rng.randrange(len(open_))
        talk, count = open_[index]
        batch = talk.turn()
        made += len(batch)
        open_[index] = (talk, count + 1)
        if count + 1 == TURNS:
            open_.pop(index)
        yield talk.service, batch


def requests(spans: int, heavy: bool = False, seed: int = 7, alive: int = 1, start: int = DEFAULT_START,
             days: int = DAYS) -> Iterator[tuple[bytes, int]]:
    """Yields (serialised ExportTraceServiceRequest, spans in it): at most 512 spans and 4,000,000 bytes each."""
    pending: dict[int, list[Span]] = {}
    sizes: dict[int, int] = {}
    for service, batch in turns(spans, heavy, seed, alive, start, days):
        size = sum(s.ByteSize() for s in batch)
        held = pending.setdefault(service, [])
        if held and (len(held) + len(batch) > MAX_SPANS or sizes[service] + size > MAX_BYTES):
            yield _request(service, held)
            pending[service] = held = []
            sizes[service] = 0
        held.extend(batch)
        sizes[service] = sizes.get(service, 0) + size
    for service, held in pending.items():
        if held:
            yield _request(service, held)


def _request(service: int, spans: list[Span]) -> tuple[bytes, int]:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    for key, value in (("service.name", SERVICES[service]), ("service.version", "1.4.2"), ("service.namespace", "shop"),
                       ("deployment.environment.name", "production"), ("telemetry.sdk.language", "python")):
        resource.resource.attributes.add(key=key).value.string_value = value
    scope = resource.scope_spans.add()
    scope.scope.name, scope.scope.version = "opentelemetry.instrumentation.genai.openai", "1.3b0"
    scope.spans.extend(spans)
    return request.SerializeToString(), len(spans)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="file of length-prefixed requests (4 bytes, big endian, then the body)")
    parser.add_argument("--spans", type=int, default=200_000)
    parser.add_argument("--heavy", action="store_true")
    parser.add_argument("--alive", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    size = count = 0
    with args.out.open("wb") as file:
        for body, spans in requests(args.spans, args.heavy, args.seed, args.alive):
            file.write(len(body).to_bytes(4, "big") + body)
            size, count = size + len(body), count + spans
    print(f"{count} spans, {size} bytes, {size / count:.0f} bytes/span")


if __name__ == "__main__":
    main()
