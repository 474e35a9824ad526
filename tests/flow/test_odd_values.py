"""Requests of real senders with odd values in the place of theirs: whatever is valid OTLP is folded, nothing breaks a
view, nothing is set aside."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tests.flow.sending import any_value, product

PAYLOADS = Path(__file__).parents[1] / "payloads"
DEEP = '[{"role":"user","parts":[{"type":"x","v":' + '{"a":[' * 400 + "1" + "]}" * 400 + "}]}]"
ODD: list[Any] = [
    "", "\0", "a\r\nb", "\u202e", "[", "{", "[]", "{}", "null", "[null]", "[{}]", "[[]]", '[{"role":null}]',
    '[{"role":"user","parts":null}]', '[{"role":{"a":1},"parts":[{"type":5}]}]', '{"choices": true}', "[" * 200, DEEP,
    '[{"role":"user","content":[1,null,{"type":[]}]}]', "NaN", "Infinity", "1e400", "-5", "9" * 40, "é" * 70_000, "'",
    '["\\ud800"]', "{'role': 'user'}", "[{'role': 'user', 'content': None}]", True, False, 0, -1, 2**63 - 1, -(2**63),
    1e308, -1e308, float("nan"), float("inf"), [], [[]], [1, "a", {"b": [True]}], {}, {"": {"": ""}},
    {"role": "user", "content": "hi"}, [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}],
]  # fmt: skip
KEYS = [
    "", "__proto__", "a" * 300, "gen_ai.usage.input_tokens", "gen_ai.input.messages", "gen_ai.prompt.-1.content",
    "llm.input_messages.99999999999999999999.message.role", "traceloop.entity.input",
]  # fmt: skip
TIMES = [0, 1, 2**64 - 1, 2**63, 1_420_070_400 * 10**9, 10**18, 1_763_640_000 * 10**9]


class Spoiler:
    """Changes about one value in eight."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.spans: set[tuple[bytes, bytes]] = set()

    def request(self, path: Path) -> tuple[str, bytes]:
        """(signal, body): what the file holds with other values and trace ids of its own."""
        signal = "logs" if "-logs-" in path.name else "traces"
        kind: Any = ExportLogsServiceRequest if signal == "logs" else ExportTraceServiceRequest
        request, salt = kind.FromString(path.read_bytes()), self._random.randbytes(16)
        for resource in request.resource_logs if signal == "logs" else request.resource_spans:
            self._attributes(resource.resource.attributes)
            for scope in resource.scope_logs if signal == "logs" else resource.scope_spans:
                self._attributes(scope.scope.attributes)
                for item in scope.log_records if signal == "logs" else scope.spans:
                    if item.trace_id:
                        item.trace_id = bytes(a ^ b for a, b in zip(item.trace_id, salt, strict=True))
                    self._attributes(item.attributes)
                    self._log(item) if signal == "logs" else self._span(item)
        return signal, request.SerializeToString()

    def _attributes(self, attributes: Any) -> None:
        for entry in attributes:
            if self._one_in(8):
                entry.value.CopyFrom(self._value(entry.value.string_value))
        if attributes and self._one_in(10):
            attributes.add().CopyFrom(attributes[0])
        if self._one_in(10):
            attributes.add(key=self._random.choice(KEYS)).value.CopyFrom(self._value(""))

    def _value(self, text: str) -> AnyValue:
        """An odd value, none at all, or the text with a piece gone or a character too many."""
        if text and self._one_in(2):
            at = self._random.randrange(len(text))
            added = self._random.choice(['"', "\\", "[", "}", "\0", "😀"])
            return AnyValue(string_value=self._random.choice([text[:at], text[at:], text[:at] + added + text[at:]]))
        return AnyValue() if self._one_in(20) else any_value(self._random.choice(ODD))

    def _span(self, span: Any) -> None:
        self.spans.add((span.trace_id, span.span_id))
        choose = self._random.choice
        if self._one_in(8):
            span.start_time_unix_nano = choose(TIMES)
        if self._one_in(8):
            span.end_time_unix_nano = choose([*TIMES, (span.start_time_unix_nano + 2**63 - 1) % 2**64])
        if self._one_in(15):
            span.kind, span.status.code = choose([6, 99, -1, 2**31 - 1]), choose([3, 99, -1])
            span.flags = span.dropped_attributes_count = span.dropped_links_count = 2**32 - 1
            self._attributes(span.links.add(trace_id=b"short").attributes)
        if self._one_in(10):
            span.parent_span_id = choose([b"", b"1", span.span_id, bytes(8), b"x" * 20])
        for event in span.events:
            self._attributes(event.attributes)

    def _log(self, record: Any) -> None:
        if self._one_in(5):
            record.body.CopyFrom(self._value(record.body.string_value))
        if self._one_in(10):
            record.time_unix_nano = self._random.choice(TIMES)
            record.severity_number = self._random.choice([0, -1, 2**31 - 1])

    def _one_in(self, many: int) -> bool:
        return self._random.randrange(many) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_odd_values_are_folded_like_others(tmp_path: Path, seed: int) -> None:
    """[26], [28]: 250 spoiled requests of every kind of sender: every span is stored, none is set aside, every view can
    be read, and rollups agree with calls."""
    files = sorted(p for p in PAYLOADS.rglob("*.pb") if "-metrics-" not in p.name and p.stat().st_size < 80_000)
    spoiler, rng = Spoiler(seed), random.Random(seed)
    with product(tmp_path) as p:
        for _ in range(250):
            signal, body = spoiler.request(rng.choice(files))
            p.send(body, signal=signal)
        p.fold()
        assert not (tmp_path / "dead-letters").exists()
        assert p.query("SELECT count(*) FROM spans") == [(len(spoiler.spans),)]
        for (view,) in p.query("SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'"):
            p.query(f'SELECT * FROM "{view}"')
        sums = "SELECT sum({}), sum(input_tokens), sum(output_tokens) FROM {}"
        assert p.query(sums.format("calls", "rollup_daily")) == p.query(sums.format("1", "calls"))
