"""[23] Spans that are far too much of something: each is stored or counted as rejected, none stops the fold process or
takes its neighbours along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.flow.sending import any_value, chat, product, traces

MIB = 1 << 20


def nested(depth: int) -> AnyValue:
    value = AnyValue(string_value="deep")
    for _ in range(depth):
        value = AnyValue(array_value=ArrayValue(values=[value]))
    return value


def add(span: Span, key: str, value: AnyValue) -> None:
    span.attributes.append(KeyValue(key=key, value=value))


def many_events(span: Span) -> None:
    for number in range(10_000):
        span.events.add(name=f"event {number}", time_unix_nano=span.start_time_unix_nano + number)


def many_links(span: Span) -> None:
    for number in range(1, 10_001):
        span.links.add(trace_id=number.to_bytes(16, "big"), span_id=number.to_bytes(8, "big"))


def same_key(span: Span) -> None:
    for number in range(5_000):
        add(span, "app.again", any_value(number))
    for model in ("other", "another"):
        add(span, "gen_ai.request.model", any_value(model))


EXTREMES: dict[str, Callable[[Span], None]] = {
    "a key of a mebibyte": lambda span: add(span, "k" * MIB, any_value("v")),
    "an empty key": lambda span: add(span, "", any_value("v")),
    "a name of a mebibyte": lambda span: setattr(span, "name", "n" * MIB),
    "a model of a mebibyte": lambda span: add(span, "gen_ai.response.model", any_value("m" * MIB)),
    "a user of a mebibyte": lambda span: add(span, "user.id", any_value("u" * MIB)),
    "a tool of a mebibyte": lambda span: add(span, "gen_ai.tool.name", any_value("t" * MIB)),
    "a state of a mebibyte": lambda span: setattr(span, "trace_state", "s=" + "t" * MIB),
    "a status of a mebibyte": lambda span: setattr(span.status, "message", "m" * MIB),
    "the same key again and again": same_key,
    "ten thousand events": many_events,
    "ten thousand links": many_links,
    "a value nested 40 deep": lambda span: add(span, "app.deep", nested(40)),
    "a list of 100,000": lambda span: add(span, "app.list", any_value(list(range(100_000)))),
    "tokens as a mebibyte of digits": lambda span: add(span, "gen_ai.usage.total_tokens", any_value("9" * MIB)),
}


@pytest.mark.slow
def test_each_extreme_span_is_a_row(tmp_path: Path) -> None:
    """One request of fourteen extreme spans with a plain one after each: all are calls with their tokens, nothing is
    set aside, and their files are folded again by a process that begins anew."""
    sent = []
    for number, make in enumerate(EXTREMES.values()):
        extreme = chat(1, 2 * number + 1)
        make(extreme)
        sent += [extreme, chat(1, 2 * number + 2)]
    with product(tmp_path) as p:
        p.send(traces(sent), traces([chat(2, 1)], service="s" * MIB))
        p.fold()
        p.restart()
        p.send(traces([chat(3, 1)]))
        p.fold()
        p.folding.compact_everything()
        p.folding.publish()
        rows = p.query("SELECT count(*), sum(input_tokens), sum(output_tokens) FROM calls")
        assert rows == [(2 * len(EXTREMES) + 2, 100 * (2 * len(EXTREMES) + 2), 10 * (2 * len(EXTREMES) + 2))]
        assert p.query("SELECT max(len(name)) FROM spans WHERE trace_id LIKE '%1'") == [(MIB,)]
    assert not list((tmp_path / "dead-letters").glob("*"))
    assert not list((tmp_path / "quarantine").glob("*"))
