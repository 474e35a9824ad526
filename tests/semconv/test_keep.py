"""Everything a span said is kept, in one place each, and comes back as it was."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spanfold.collector.decode import decode_spans
from spanfold.semconv.anyvalue import plain
from spanfold.semconv.keep import Kept, keep_spans
from spanfold.semconv.privacy import content_like, is_private
from spanfold.semconv.records import AttributeColumns, SpanBatch
from spanfold.semconv.restore import restore_attributes, restore_events, restore_links
from spanfold.semconv.schema import PROMOTED, SPANS
from tests.semconv.otlp import Accepted, captured, key_values, same, span, trace_request, trace_requests

PYTHON = {"string": str, "int": int, "bool": bool, "strings": list}
NAN, INF = float("nan"), float("inf")
LONG = "the quick brown fox " * 20


def read(*spans: Span, **scope: Any) -> SpanBatch:
    return decode_spans([trace_request(*spans, **scope)])


def attributes_of(batch: SpanBatch) -> list[dict[str, Any]]:
    held: AttributeColumns = batch.attributes
    out: list[dict[str, Any]] = [{} for _ in range(held.length)]
    for row, code, value in zip(held.rows, held.codes, held.decode(np.arange(len(held.rows))), strict=True):
        out[row][held.keys[code]] = value
    return out


def columns_of_meaning(sent: list[dict[str, Any]], keep_every: int = 1) -> dict[str, pa.Array]:
    """Columns as a normaliser would fill them; only every so manieth row holds what was sent."""
    columns: dict[str, list[Any]] = {rule.column: [None] * len(sent) for rule in PROMOTED}
    for rule in PROMOTED:
        for row, attributes in enumerate(sent):
            value = attributes.get(rule.key)
            fits = type(value) is PYTHON[rule.kind] and (
                rule.kind != "strings" or all(isinstance(v, str) for v in value)
            )
            if fits and row % keep_every == 0:
                columns[rule.column][row] = value
    return {name: pa.array(values, SPANS.field(name).type) for name, values in columns.items()}


def stored(kept: Kept, fields: dict[str, pa.Array] | None = None) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(columns, private) of each row, as a reader finds them."""
    columns = kept.columns | (fields or {})
    table = pa.table([columns[name] for name in columns], names=list(columns)).to_pylist()
    private = {row: orjson.loads(orjson.dumps(value)) for row, value in kept.private}
    return [(row, private.get(index, {})) for index, row in enumerate(table)]


def kept_json(kept: Kept, name: str) -> list[Any]:
    return [None if text is None else orjson.loads(text) for text in kept.columns[name].to_pylist()]


def clear_text(kept: Kept) -> str:
    return "\n".join(str(column.to_pylist()) for column in kept.columns.values())


@settings(max_examples=60, deadline=None)
@given(trace_requests(), st.integers(1, 3))
def test_round_trip(records: list[Accepted], keep_every: int) -> None:
    """restore(keep(x)) == x, with the types of all values, whatever the columns of meaning hold."""
    batch = decode_spans(records)
    sent = attributes_of(batch)
    fields = columns_of_meaning(sent, keep_every)
    rows = stored(keep_spans(batch, fields, ()), fields)
    for (row, private), attributes, raw in zip(rows, sent, batch.columns.to_pylist(), strict=True):
        assert same(restore_attributes(row, private), attributes)
        assert same(restore_events(row, private), [event_of(Span.Event.FromString(e)) for e in raw["events"]])
        assert same(restore_links(row, private), [link_of(Span.Link.FromString(link)) for link in raw["links"]])
        assert private.get("status_message", "") == raw["status_message"]


def event_of(event: Any) -> dict[str, Any]:
    return {
        "name": event.name,
        "time_unix_nano": event.time_unix_nano,
        "attributes": {entry.key: plain(entry.value) for entry in event.attributes},
        "dropped_attributes_count": event.dropped_attributes_count,
    }


def link_of(link: Any) -> dict[str, Any]:
    return {
        "trace_id": link.trace_id.hex(),
        "span_id": link.span_id.hex(),
        "trace_state": link.trace_state,
        "attributes": {entry.key: plain(entry.value) for entry in link.attributes},
        "flags": link.flags,
        "dropped_attributes_count": link.dropped_attributes_count,
    }


def test_columns_fit_the_schema() -> None:
    """Every kept column has the type that the stored schema declares, also of a batch of nothing."""
    for batch in (decode_spans(captured("*/*-traces-*.pb")), decode_spans([])):
        for name, column in keep_spans(batch, {}, ()).columns.items():
            assert column.type == SPANS.field(name).type, name
            assert len(column) == len(batch.columns)


def test_a_captured_span() -> None:
    """A chat span of a stock instrumentation: identity, promoted bits and the attributes that remain."""
    batch = decode_spans(captured("official-openai-span/errors-traces-001.pb"))
    sent = attributes_of(batch)
    fields = columns_of_meaning(sent)
    content = {"gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"}
    kept = keep_spans(batch, fields, content)
    row, private = stored(kept, fields)[0]
    assert row["kind"] == "client"
    assert row["parent_span_id"] is None
    assert row["scope_name"] == "opentelemetry.instrumentation.genai.openai"
    assert restore_attributes(row, private) == {key: v for key, v in sent[0].items() if key not in content}
    assert "gen_ai.request.model" not in orjson.loads(row["attributes"])
    assert not content & restore_attributes(row, private).keys()


def test_identity_and_times() -> None:
    """Ids are lower-case hex, a zero parent is no parent, and nanoseconds survive beyond microseconds."""
    start = 1_763_501_811_172_823_460
    batch = read(
        span(trace_id=b"\xab" * 16, span_id=b"\x0c" * 8, parent_span_id=bytes(8), start_time_unix_nano=start,
             end_time_unix_nano=start + 5, kind=1, flags=0x301, trace_state="k=v", dropped_events_count=3),
        span(start_time_unix_nano=start, end_time_unix_nano=start - 7, kind=9, parent_span_id=b"\x01" * 8),
        span(start_time_unix_nano=2**64 - 1, end_time_unix_nano=0, status=Status(code=2)),
    )  # fmt: skip
    rows = [row for row, _ in stored(keep_spans(batch, {}, ()))]
    assert rows[0]["trace_id"] == "ab" * 16
    assert rows[0]["span_id"] == "0c" * 8
    assert [row["parent_span_id"] for row in rows] == [None, "01" * 8, None]
    assert rows[0]["start_time"] == dt.datetime(2025, 11, 18, 21, 36, 51, 172823)
    assert [row["start_nanos"] for row in rows] == [460, 460, 615]
    assert [row["duration_ns"] for row in rows] == [5, -7, 1]  # the last one as the clock's 64 bits wrap
    assert [row["kind"] for row in rows] == ["internal", "9", "client"]
    assert [row["status_code"] for row in rows] == [0, 0, 2]
    assert (rows[0]["flags"], rows[0]["trace_state"], rows[0]["dropped_events"]) == (0x301, "k=v", 3)
    assert rows[1]["trace_state"] is None


def test_origin_columns() -> None:
    """Resource, scope, both schema URLs, tenant and time of receipt stand on every row."""
    batch = read(
        span(),
        resource={"service.name": "shop", "n": 1},
        name="scope",
        version="1.2",
        attributes=key_values({"a": True}),
    )
    row = stored(keep_spans(batch, {}, ()))[0][0]
    assert orjson.loads(row["resource"]) == {"service.name": "shop", "n": 1}
    assert orjson.loads(row["scope_attributes"]) == {"a": True}
    assert (row["scope_name"], row["scope_version"], row["tenant"]) == ("scope", "1.2", "default")
    assert row["resource_schema_url"] == "https://opentelemetry.io/schemas/1.37.0"
    assert row["scope_schema_url"] == "scope-url"
    assert row["received_time"] == dt.datetime(2025, 11, 13, 2, 13, 20, 1)


def test_attribute_json() -> None:
    """Clear attributes are one JSON object; integers stay integers, doubles keep their point, keys are escaped."""
    sent = {"b": 1, "c": 1.0, "d": -0.0, "e": 1e300, "f": True, 'g"\n\0': 'say "hi"\\', "": "", "l": [1, "x"], "m": {}}
    kept = keep_spans(read(span(sent)), {}, ())
    assert kept.columns["attributes"].to_pylist() == [
        '{"b":1,"c":1.0,"d":-0.0,"e":1e+300,"f":true,"g\\"\\n\\u0000":"say \\"hi\\"\\\\","":"","l":[1,"x"],"m":{}}'
    ]
    assert kept.columns["attributes_typed"].to_pylist() == [None]
    assert kept.private == []


def test_no_attributes_is_null() -> None:
    """A span without attributes, events or links has NULL there, not an empty object."""
    kept = keep_spans(read(span(), span({"a": 1})), {}, ())
    assert kept.columns["attributes"].to_pylist() == [None, '{"a":1}']
    assert kept.columns["events"].to_pylist() == [None, None]
    assert kept.columns["links"].to_pylist() == [None, None]


def test_what_plain_json_loses() -> None:
    """Bytes, unset values, NaN, infinities and integers beyond 2^53 stand in OTLP JSON as well."""
    sent = {
        "raw": b"\x00\xff",
        "none": None,
        "nan": NAN,
        "inf": [-INF],
        "big": 2**53 + 1,
        "ok": 2**53,
    }
    kept = keep_spans(read(span(sent)), {}, ())
    assert kept_json(kept, "attributes") == [
        {"raw": "AP8=", "none": None, "nan": None, "inf": [None], "big": 2**53 + 1, "ok": 2**53}
    ]
    assert kept_json(kept, "attributes_typed") == [
        {
            "raw": {"bytesValue": "AP8="},
            "none": {},
            "nan": {"doubleValue": "NaN"},
            "inf": {"arrayValue": {"values": [{"doubleValue": "-Infinity"}]}},
            "big": {"intValue": "9007199254740993"},
        }
    ]


def test_promotion_is_exact() -> None:
    """An attribute leaves the JSON only where the column holds the same value of the same type."""
    batch = read(
        span({"gen_ai.request.model": "gpt-5", "gen_ai.usage.input_tokens": 7}),
        span({"gen_ai.request.model": "GPT-5", "gen_ai.usage.input_tokens": "7"}),
        span({"gen_ai.response.finish_reasons": ["stop"], "gen_ai.request.stream": True, "gen_ai.system": "openai"}),
        span({"gen_ai.response.finish_reasons": ["a\x1fb"], "gen_ai.request.stream": 1, "gen_ai.system": "azure"}),
    )
    fields = {
        "request_model": pa.array(["gpt-5", "gpt-5", None, None]),
        "input_tokens": pa.array([7, 7, None, None], pa.int64()),
        "finish_reasons": pa.array([None, None, ["stop"], ["a", "b"]], SPANS.field("finish_reasons").type),
        "streaming": pa.array([None, None, True, True]),
        "provider": pa.array([None, None, "openai", "openai"]),
    }
    kept = keep_spans(batch, fields, ())
    bits = kept.columns["promoted"].to_pylist()
    assert [[rule.key for bit, rule in enumerate(PROMOTED) if held >> bit & 1] for held in bits] == [
        ["gen_ai.request.model", "gen_ai.usage.input_tokens"],
        [],
        ["gen_ai.request.stream", "gen_ai.response.finish_reasons", "gen_ai.system"],
        [],
    ]
    assert kept_json(kept, "attributes") == [
        None,
        {"gen_ai.request.model": "GPT-5", "gen_ai.usage.input_tokens": "7"},
        None,
        {"gen_ai.response.finish_reasons": ["a\x1fb"], "gen_ai.request.stream": 1, "gen_ai.system": "azure"},
    ]


def test_understood_content_is_left_out() -> None:
    """Content is not kept twice, but what nobody understood stays, encrypted, under its key."""
    batch = read(span({"gen_ai.input.messages": "[]", "x": 1}), span({"gen_ai.input.messages": "{broken"}))
    kept = keep_spans(batch, {}, {"gen_ai.input.messages"}, unparsed=[(1, "gen_ai.input.messages")])
    assert kept_json(kept, "attributes") == [{"x": 1}, None]
    assert kept.private == [(1, {"attributes": {"gen_ai.input.messages": "{broken"}})]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("app.note", LONG),
        ("app.list", ["fine", LONG]),
        ("app.map", {"deep": [{"k": LONG}]}),
        ("app.vector", [0.125] * 300),
        ("app.blob", b"jane.doe@example.com"),
        ("app.big", b"\x00" * 300),
        ("app.turn", {"content": "hello"}),
        ("exception.message", "boom"),
        ("exception.stacktrace", "at line 1"),
        ("db.statement", "SELECT 1"),
        ("db.query.text", "SELECT 1"),
        ("db.query.parameter.0", "x"),
        ("http.request.body", "x"),
        ("http.request.header.authorization", ["Bearer x"]),
        ("url.query", "q=1"),
        ("input.value", "hello"),
        ("llm.openai.choices", "[{'message': 'hello'}]"),
        ("mlflow.spanInputs", "{}"),
        ("ai.prompt.messages", [{"a": "b"}]),
        ("user_prompt", "hello"),
        ("ai.toolCall.args", "{}"),
    ],
)
def test_what_must_hide(key: str, value: Any) -> None:
    """Long texts, errors, statements, bodies and whatever its key calls content go to the private object alone."""
    kept = keep_spans(read(span({key: value, "n": 1})), {}, ())
    assert kept_json(kept, "attributes") == [{"n": 1}]
    assert kept.columns["attributes_typed"].to_pylist() == [None]
    (row, private) = stored(kept)[0]
    assert same(restore_attributes(row, private), {key: value, "n": 1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("app.note", "é" * 256),  # 512 bytes, but 256 characters
        ("gen_ai.output.type", "json"),
        ("gen_ai.usage.input_tokens", 5),
        ("llm.input_messages.0.message.role", "user"),
        ("message.id", "m-1"),
        ("output.value", 7),
        ("db.query.summary", "SELECT users"),
        ("app.tags", ["a", "b"]),
        ("app.raw", b"\x01\x02"),
    ],
)
def test_what_stays_clear(key: str, value: Any) -> None:
    """Short texts, numbers, and facts about content stay in the clear JSON."""
    kept = keep_spans(read(span({key: value})), {}, ())
    assert kept.private == []
    assert same(restore_attributes(stored(kept)[0][0]), {key: value})


def test_promoted_keys_are_no_content() -> None:
    """No attribute that has a column of its own counts as content or as private by its name."""
    assert [rule.key for rule in PROMOTED if content_like(rule.key) or is_private(rule.key)] == []
    assert {rule.kind for rule in PROMOTED} <= PYTHON.keys()
    assert len(PROMOTED) <= 64


def test_events() -> None:
    """Events are JSON by row; exceptions and content go to the private object by their place in the list."""
    failure = {"exception.type": "E", "exception.message": "card 4242", "exception.stacktrace": "at"}
    events = [
        Span.Event(name="first", time_unix_nano=2**64 - 1, attributes=key_values({"n": 1, "raw": b"\x01"})),
        Span.Event(
            name="exception",
            attributes=key_values(failure),
            dropped_attributes_count=2,
        ),
        Span.Event(name="gen_ai.user.message", attributes=key_values({"content": "hello", "role": "user"})),
    ]
    kept = keep_spans(read(span(), span(events=events)), {}, (), event_content={(1, 2): {"content"}})
    assert kept_json(kept, "events") == [
        None,
        [
            {"name": "first", "time_unix_nano": 2**64 - 1, "attributes": {"n": 1, "raw": "AQ=="},
             "attributes_typed": {"raw": {"bytesValue": "AQ=="}}, "dropped_attributes_count": 0},
            {"name": "exception", "time_unix_nano": 0, "attributes": {"exception.type": "E"},
             "dropped_attributes_count": 2},
            {"name": "gen_ai.user.message", "time_unix_nano": 0, "attributes": {"role": "user"},
             "dropped_attributes_count": 0},
        ],
    ]  # fmt: skip
    assert kept.private == [
        (1, {
            "events": [{"index": 1, "attributes": {"exception.message": "card 4242", "exception.stacktrace": "at"}}],
            "error_message": "card 4242",
        })
    ]  # fmt: skip
    assert "card 4242" not in clear_text(kept)
    assert "hello" not in clear_text(kept)


def test_content_in_events_that_nobody_understood() -> None:
    """An event that looks like content, but that no dialect reads, is kept in the private object."""
    event = Span.Event(name="gen_ai.user.message", attributes=key_values({"content": "hello"}))
    kept = keep_spans(read(span(events=[event, event])), {}, (), event_content={(0, 1): {"content"}})
    assert kept.private == [(0, {"events": [{"index": 0, "attributes": {"content": "hello"}}]})]


def test_errors_are_private() -> None:
    """The status message is kept as sent, and the error message beside it where an exception says something else."""
    failed = Status(code=2, message="boom")
    kept = keep_spans(
        read(
            span(status=failed),
            span({"error.message": "other"}, status=failed),
            span({"exception.message": "alone"}),
            span({"exception.message": "boom"}, status=failed),
        ),
        {},
        (),
    )
    assert kept.private == [
        (0, {"status_message": "boom"}),
        (1, {"attributes": {"error.message": "other"}, "status_message": "boom", "error_message": "other"}),
        (2, {"attributes": {"exception.message": "alone"}, "error_message": "alone"}),
        (3, {"attributes": {"exception.message": "boom"}, "status_message": "boom"}),
    ]
    assert "boom" not in clear_text(kept)


def test_links() -> None:
    """Links keep ids, state, flags and attributes."""
    link = Span.Link(
        trace_id=b"\x0f" * 16, span_id=b"\x0e" * 8, trace_state="a=b", flags=257,
        attributes=key_values({"why": "retry", "note": LONG}),
    )  # fmt: skip
    kept = keep_spans(read(span(links=[link])), {}, ())
    assert kept_json(kept, "links") == [[
        {"trace_id": "0f" * 16, "span_id": "0e" * 8, "trace_state": "a=b", "attributes": {"why": "retry"}, "flags": 257,
         "dropped_attributes_count": 0},
    ]]  # fmt: skip
    assert kept.private == [(0, {"links": [{"index": 0, "attributes": {"note": LONG}}]})]


def test_private_typed_values() -> None:
    """A private value that JSON cannot hold keeps its type in the private object."""
    sent = {"db.statement": False, "prompt": b"a readable text", "error.message": None}
    row, private = stored(keep_spans(read(span(sent)), {}, ()))[0]
    assert private["attributes_typed"] == {"prompt": {"bytesValue": "YSByZWFkYWJsZSB0ZXh0"}, "error.message": {}}
    assert restore_attributes(row, private) == sent


@pytest.mark.parametrize("evil", ["'; DROP TABLE spans; --", "../../etc/passwd", "<script>", "{0}", "%s", "a\0b", "😀"])
def test_keys_and_values_are_data(evil: str) -> None:
    """Whatever a key or value spells, it is JSON text in one column and nothing else."""
    kept = keep_spans(read(span({evil: evil, "k": evil})), {}, ())
    assert kept_json(kept, "attributes") == [{evil: evil, "k": evil}]
    assert set(kept.columns) <= set(SPANS.names)
