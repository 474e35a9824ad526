"""Items of the OTLP receiver checklist (docs/receiving.md) about JSON and about what is kept of what was sent: sent
over real ports, folded, and read with `spanfold show --json`. The number in a docstring is the item's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanfold.cli import cli
from spanfold.collector.limits import Limits
from spanfold.collector.server import Collector
from spanfold.folding import Folding
from spanfold.settings import Settings
from tests.flow.sending import NOON, SECOND, any_value, chat, traces

from .receiving import JSON, calling, post, running

HOSTILE = [
    "../../x", "..\\..\\x", "/etc/x", "a\0b", "x" * 300, "CON", ".", "", "%2e%2e%2f", "'; DROP TABLE spans; --",
    "=1+1", "\u202egpj.exe", "{0}%s%n",
]  # fmt: skip
KEYS = ["__proto__", "__class__", "constructor.prototype", "a.b", "a", '"; DROP', "select", "../x", ""]
YEAR = 365 * 86_400 * SECOND


def key_value(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


VALUES = [
    key_value("string", stringValue="x"), key_value("empty", stringValue=""), key_value("bool", boolValue=False),
    key_value("int", intValue="42"), key_value("number", intValue=43), key_value("large", intValue=str(2**63 - 1)),
    key_value("double", doubleValue=1.5), key_value("whole", doubleValue=2), key_value("nan", doubleValue="NaN"),
    key_value("infinite", doubleValue="-Infinity"), key_value("bytes", bytesValue="AP8="), key_value("unset"),
    key_value("array", arrayValue={"values": [{"intValue": "1"}, {"stringValue": "b"}, {}]}),
    key_value("map", kvlistValue={"values": [key_value("inner", arrayValue={"values": [{"boolValue": True}]})]}),
    key_value("no array", arrayValue={}), key_value("no map", kvlistValue={}),
]  # fmt: skip
WHOLE = {
    "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174", "parentSpanId": "eee19b7ec3c1b173",
    "name": "I'm a server", "kind": 2, "traceState": "vendor=1", "flags": 257, "future": {"field": [1]},
    "startTimeUnixNano": str(NOON), "endTimeUnixNano": NOON + SECOND, "attributes": VALUES, "droppedAttributesCount": 1,
    "events": [{"name": "seen", "timeUnixNano": str(NOON + 1), "attributes": [key_value("e", intValue="1")],
                "droppedAttributesCount": 4}],
    "droppedEventsCount": 2,
    "links": [{"traceId": "5b8efff798038103d269b633813fc60d", "spanId": "eee19b7ec3c1b175", "traceState": "x=y",
               "attributes": [key_value("l", boolValue=True)], "droppedAttributesCount": 5, "flags": 1}],
    "droppedLinksCount": 3, "status": {"code": 2, "message": "no room", "more": 1}, "endTime": None,
}  # fmt: skip
REQUEST = {
    "resourceSpans": [{
        "resource": {"attributes": [key_value("service.name", stringValue="json"), key_value("cores", intValue="8")],
                     "droppedAttributesCount": 6, "unknown": 1},
        "scopeSpans": [{
            "scope": {"name": "lib", "version": "1.2", "attributes": [key_value("scope.key", stringValue="s")],
                      "droppedAttributesCount": 7},
            "spans": [WHOLE], "schemaUrl": "https://example.com/scope",
        }],
        "schemaUrl": "https://example.com/resource", "else": None,
    }],
    "later": True,
}  # fmt: skip


def log_request(**record: Any) -> bytes:
    scope = {"scope": {"name": "lib"}, "logRecords": [record]}
    resource = {"attributes": [key_value("service.name", stringValue="json")]}
    return json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}).encode()


def endless() -> Span:
    """Span 11/1: as long as may be, from a start that is not a whole microsecond."""
    made = chat(11, 1, start=NOON + 808)
    made.end_time_unix_nano = NOON + 808 + 2**63 - 1
    return made


def nested_words() -> list[Span]:
    """Of trace 10: messages nested as deep as a JSON reader goes, and deeper than a writer does."""
    head, tail = '[{"role":"user","parts":[{"type":"x","value":', "}]}]"
    return [
        chat(10, number, gen_ai__input__messages=head + '{"a":[' * levels + "1" + "]}" * levels + tail)
        for number, levels in enumerate((60, 150, 480), 1)
    ]


def odd_times() -> list[Span]:
    """Of trace 4: end before start, no times, far in the future."""
    made = [chat(4, number) for number in (1, 2, 3)]
    for one, (start, end) in zip(made, [(NOON, NOON - SECOND), (0, 0), (NOON + 300 * YEAR,) * 2], strict=True):
        one.start_time_unix_nano, one.end_time_unix_nano = start, end
    return made


def hostile() -> list[bytes]:
    """A request for each hostile text as service, tenant, model, name and key of trace 5, and as resource."""
    return [
        traces(
            [chat(5, number, model=text, name=text, tenant=text, session__id=text, **{f"k{text}": text})], service=text
        )
        for number, text in enumerate(HOSTILE, 1)
    ]


def strange() -> Span:
    """Span 6/1: keys that are special elsewhere, a key that stands twice, an unknown kind and unknown fields."""
    made = chat(6, 1)
    for key in [*KEYS, "twice", "twice"]:
        made.attributes.add(key=key, value=any_value(f"value of {key} {len(made.attributes)}"))
    made.kind = 99  # type: ignore[assignment]
    return Span.FromString(made.SerializeToString() + b"\xc2\x3e\x03new")


def many() -> Span:
    """Span 7/1: ten thousand attributes, and a value of a mebibyte."""
    made = chat(7, 1, large="x" * (1 << 20))
    for number in range(10_000):
        made.attributes.add(key=f"key {number}").value.int_value = number
    return made


def version(name: str, ms: int) -> bytes:
    """Span 8/1, with another name and duration each time."""
    return traces([chat(8, 1, name=name, ms=ms)])


def odd_usage() -> list[Span]:
    """Of trace 9: token counts that no model gives."""
    counts: list[Any] = [2**63 - 1, 2**63 - 1, -5, 1e308, float("nan"), float("inf"), "many", True]
    return [chat(9, number, tokens=(count, 1)) for number, count in enumerate(counts, 1)]


def metrics() -> bytes:
    """All five kinds of metrics in JSON, two points each."""
    point = {"timeUnixNano": str(NOON), "startTimeUnixNano": str(NOON - SECOND)}
    later = {**point, "timeUnixNano": str(NOON + SECOND)}
    number = [{**point, "asInt": "3"}, {**point, "asDouble": 0.5}]
    buckets = {"count": "3", "sum": 4.5, "bucketCounts": ["1", 2], "explicitBounds": [1]}
    wide = {"count": 3, "sum": 4.5, "scale": 1, "zeroCount": "1", "positive": {"offset": 1, "bucketCounts": ["2"]}}
    quantiles = {"count": "3", "sum": 4.5, "quantileValues": [{"quantile": 0.5, "value": 1.5}]}
    kinds = [
        {"name": "gauge", "gauge": {"dataPoints": number}},
        {"name": "delta", "sum": {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": number}},
        {"name": "cumulative", "sum": {"aggregationTemporality": 2, "dataPoints": number}},
        {
            "name": "histogram",
            "histogram": {"aggregationTemporality": 2, "dataPoints": [{**point, **buckets}, {**later, **buckets}]},
        },
        {
            "name": "wide",
            "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [{**point, **wide}, {**later, **wide}]},
        },
        {"name": "summary", "summary": {"dataPoints": [{**point, **quantiles}, {**later, **quantiles}]}},
    ]
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": kinds}]}]}).encode()


def send_everything(collector: Collector) -> None:
    """Over both edges; every request is accepted whole."""
    assert post(collector, json.dumps(REQUEST).encode(), JSON)[2] == b"{}"
    ids = {"traceId": WHOLE["traceId"], "spanId": "eee19b7ec3c1b174"}
    times = {"timeUnixNano": str(NOON), "observedTimeUnixNano": NOON, "severityNumber": 9, "severityText": "INFO"}
    old = [key_value("event.name", stringValue="old.style")]
    for record in (
        {**ids, **times, "eventName": "new.style", "body": {"stringValue": "said"}, "flags": 1},
        {**ids, **times, "timeUnixNano": str(NOON + SECOND), "attributes": old},
    ):
        assert post(collector, log_request(**record), JSON, "/v1/logs")[2] == b"{}"
    assert post(collector, metrics(), JSON, "/v1/metrics")[2] == b"{}"
    with calling(collector) as export:
        for body in (
            traces([chat(3, 2, 1)]), traces([chat(3, 3, 2)], service="other"), traces([chat(3, 1)], service="third"),
            traces(odd_times()), *hostile(), traces([strange()]), traces([many()]), traces(odd_usage()),
            traces([endless()]), traces(nested_words()),
            version("first", 1000), version("second", 2000),
        ):  # fmt: skip
            assert export(body, timeout=20) == b""
    assert post(collector, version("first", 1000))[2] == b""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything above, sent, folded and published."""
    data = tmp_path_factory.mktemp("fidelity") / "data"
    with running(data, limits=Limits()) as collector:
        send_everything(collector)
    folding = Folding(Settings(data=data, quiet_seconds=0.0))
    while folding.step():
        continue
    folding.publish()
    folding.close()
    return data


@pytest.fixture(scope="module")
def published(data: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(data / "spanfold.duckdb"), read_only=True) as connection:
        yield connection


def show(data: Path, span_id: str) -> Any:
    result = CliRunner().invoke(cli, ["show", span_id, "--json", "--data", str(data)], catch_exceptions=False)
    return json.loads(result.stdout)


# ---- JSON -----------------------------------------------------------------------------------------------------------
def test_every_kind_of_value_is_kept_apart(data: Path) -> None:
    """47, 48, 50, 52, 53, 54, 55, 58: hex ids in any case; integers as strings and numbers, base64, NaN, empty, unset
    and nested values; unknown fields and nulls at every level are ignored. What plain JSON cannot hold has its type."""
    shown = show(data, "eee19b7ec3c1b174")
    assert (shown["trace_id"], shown["parent_span_id"]) == ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b173")
    assert shown["attributes"] == {
        "string": "x", "empty": "", "bool": False, "int": 42, "number": 43, "large": 2**63 - 1, "double": 1.5,
        "whole": 2.0, "nan": None, "infinite": None, "bytes": "AP8=", "unset": None, "array": [1, "b", None],
        "map": {"inner": [True]}, "no array": [], "no map": {},
    }  # fmt: skip
    assert shown["attributes_typed"] == {
        "large": {"intValue": str(2**63 - 1)}, "nan": {"doubleValue": "NaN"}, "infinite": {"doubleValue": "-Infinity"},
        "bytes": {"bytesValue": "AP8="}, "unset": {},
        "array": {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "b"}, {}]}},
    }  # fmt: skip


def test_the_whole_of_a_span(data: Path) -> None:
    """56, 62, 63: flags, trace state, links, events, status, dropped counts, resource, scope, both schema URLs."""
    shown = show(data, "eee19b7ec3c1b174")
    assert {name: shown[name] for name in ("name", "kind", "flags", "trace_state", "status", "status_message")} == {
        "name": "I'm a server", "kind": "server", "flags": 257, "trace_state": "vendor=1", "status": "error",
        "status_message": "no room",
    }  # fmt: skip
    assert (shown["dropped_attributes"], shown["dropped_events"], shown["dropped_links"]) == (1, 2, 3)
    assert shown["events"] == [
        {"name": "seen", "time_unix_nano": NOON + 1, "attributes": {"e": 1}, "dropped_attributes_count": 4}
    ]
    assert shown["links"] == [{
        "trace_id": "5b8efff798038103d269b633813fc60d", "span_id": "eee19b7ec3c1b175", "trace_state": "x=y",
        "attributes": {"l": True}, "flags": 1, "dropped_attributes_count": 5,
    }]  # fmt: skip
    assert shown["resource"] == {"service.name": "json", "cores": 8}
    assert (shown["resource_schema_url"], shown["scope_schema_url"]) == (
        "https://example.com/resource", "https://example.com/scope"
    )  # fmt: skip
    assert (shown["scope_name"], shown["scope_version"], shown["scope_attributes"]) == (
        "lib",
        "1.2",
        {"scope.key": "s"},
    )


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ('"kind":"SPAN_KIND_SERVER"', "kind must be int"),
        ('"traceId":"W47/94gDgQPSabYzgT/GDA=="', "an id is not hexadecimal"),
        ('"startTimeUnixNano":"1e400"', "is no whole number"),
    ],
)
def test_what_is_no_otlp_json(tmp_path: Path, member: str, reason: str) -> None:
    """40, 45, 49, [25]: names of enums and ids in base64 get 400 with the reason."""
    sent = '{"resourceSpans":[{"scopeSpans":[{"spans":[{' + member + "}]}]}]}"
    with running(tmp_path) as collector:
        status, headers, answer = post(collector, sent.encode(), JSON)
        assert (status, headers["retry-after"], reason in json.loads(answer)["message"]) == (400, None, True)


def test_a_text_cut_within_a_character_costs_nothing_else(tmp_path: Path) -> None:
    """[24] Half a surrogate pair, as JavaScript writes it, becomes U+FFFD; the request is taken, the sender told."""
    ids = '"traceId":"5b8efff798038103d269b633813fc60d","spanId":"eee19b7ec3c1b175"'
    sent = '{"resourceSpans":[{"scopeSpans":[{"spans":[{' + ids + ',"name":"cut \\ud83d"}]}]}]}'
    with running(tmp_path) as collector:
        status, _, answer = post(collector, sent.encode(), JSON)
        told = json.loads(answer)["partialSuccess"]["errorMessage"]
    assert (status, told) == (200, "characters that were cut in half, replaced: 1")


@pytest.mark.parametrize("lengths", [(0, 8), (1, 8), (15, 8), (17, 8), (16, 0), (16, 1), (16, 7), (16, 9)])
def test_ids_of_wrong_lengths(tmp_path: Path, lengths: tuple[int, int]) -> None:
    """60, [25]: such a span is rejected with its reason, whatever the encoding; the one beside it is kept."""
    trace, one = "ab" * lengths[0], "cd" * lengths[1]
    spans = [{"traceId": trace, "spanId": one}, {"traceId": "ab" * 16, "spanId": "CD" * 8}]
    sent = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    bad = Span(trace_id=bytes.fromhex(trace), span_id=bytes.fromhex(one))
    with running(tmp_path) as collector:
        partial = json.loads(post(collector, sent, JSON)[2])["partialSuccess"]
        answer = ExportTraceServiceResponse.FromString(post(collector, traces([bad, chat(1, 1)]))[2])
        items = collector.counters.snapshot()["traces"]["items"]
    assert partial == {"rejectedSpans": "1", "errorMessage": answer.partial_success.error_message}
    assert " bytes instead of " in partial["errorMessage"]
    assert items == {"accepted": 2, "rejected": 2, "refused": 0}


# ---- what is kept ---------------------------------------------------------------------------------------------------
def test_special_keys_and_unknown_fields(data: Path) -> None:
    """57, 59, [27], [29]: keys that mean something elsewhere are plain data; of a key that stands twice the
    last value is kept; an unknown kind is kept by its number; fields of a later OTLP do no harm."""
    (shown,) = show(data, f"{6:032x}")["span_documents"]
    assert shown["kind"] == "99"
    kept = shown["attributes"]
    assert [kept[key].rsplit(" ", 1)[0] for key in KEYS] == [f"value of {key}" for key in KEYS]
    assert kept["twice"] == "value of twice 15"
    assert json.loads(json.dumps(kept)) == kept


def test_roots_and_children_over_requests(data: Path, published: duckdb.DuckDBPyConnection) -> None:
    """61, 65: an empty parent is a root; children that came before it, in requests of their own, hang below it."""
    found = published.execute("SELECT span_id[-1:], parent_span_id[-1:] FROM spans WHERE trace_id = ? ORDER BY 1", [
        f"{3:032x}"
    ]).fetchall()  # fmt: skip
    assert found == [("1", None), ("2", "1"), ("3", "2")]
    trace = show(data, f"{3:032x}")
    assert (trace["spans"], trace["has_root"], trace["root_span_id"]) == (3, True, f"{1:016x}")


def test_odd_times_are_kept_and_flagged(published: duckdb.DuckDBPyConnection) -> None:
    """64: end before start, no times and times far ahead are kept as sent, and said in `data_quality`."""
    found = published.execute(
        "SELECT date::VARCHAR, duration_ms FROM spans WHERE trace_id = ? ORDER BY span_id", [f"{4:032x}"]
    ).fetchall()
    assert found == [("2025-11-20", -1000.0), ("1970-01-01", 0.0), ("1970-01-01", 0.0)]
    flagged = published.execute(
        "SELECT kind, count, example_trace_id, example_span_id[-1:] FROM data_quality "
        "WHERE kind IN ('skewed_time', 'ends_before_start') ORDER BY 1"
    ).fetchall()
    assert flagged == [("ends_before_start", 1, f"{4:032x}", "1"), ("skewed_time", 2, f"{4:032x}", "2")]


def test_what_senders_dropped_is_said(published: duckdb.DuckDBPyConnection) -> None:
    """62: attributes that a sender dropped from a span, its resource or its scope are told in `data_quality`."""
    told = published.execute(
        "SELECT detail, count, example_span_id FROM data_quality WHERE kind = 'truncated' ORDER BY 1"
    ).fetchall()
    span_id = "eee19b7ec3c1b174"
    assert told == [("dropped_attributes_count", 1, span_id), ("resource or scope", 1, span_id)]


def test_the_longest_duration_breaks_no_view(published: duckdb.DuckDBPyConnection) -> None:
    """64, [26]: a span of 292 years is a row like others: every view can be read."""
    found = published.execute("SELECT duration_ms FROM calls WHERE trace_id = ?", [f"{11:032x}"]).fetchone()
    assert found == ((2**63 - 1) / 1e6,)
    views = published.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'")
    for (view,) in views.fetchall():
        published.execute(f'SELECT * FROM "{view}"').fetchall()


def test_messages_nested_deeply_are_kept(data: Path) -> None:
    """39, [22]: what a JSON writer cannot nest is kept as text within the message, word by word; no record is set aside
    for it."""
    spans = show(data, f"{10:032x}")["span_documents"]
    levels = [json.dumps(span["gen_ai.input.messages"]).count("a") for span in spans]
    assert [count - levels[0] for count in levels] == [0, 90, 420]
    assert not (data / "dead-letters").exists()


def test_the_first_version_wins(published: duckdb.DuckDBPyConnection) -> None:
    """37, 38: a span that is sent again is stored once; another version of it is counted, and the first one stays."""
    assert published.execute("SELECT name, duration_ms FROM spans WHERE trace_id = ?", [f"{8:032x}"]).fetchall() == [
        ("first", 1000.0)
    ]
    counted = published.execute(
        "SELECT kind, count, example_trace_id FROM data_quality WHERE kind LIKE '%duplicate%' ORDER BY 1"
    ).fetchall()
    assert counted == [("changed_duplicate", 1, f"{8:032x}"), ("duplicate_span", 1, f"{8:032x}")]


def test_logs_join_their_span(data: Path) -> None:
    """35, 66: a record with the ids of a span is shown with it, its event's name in the field or in an attribute."""
    shown = show(data, "eee19b7ec3c1b174")["logs"]
    told = ("event_name", "body", "severity_number", "severity_text", "flags", "scope_name")
    assert [[log[name] for name in told] for log in shown] == [
        ["new.style", "said", 9, "INFO", 1, "lib"], ["old.style", None, 9, "INFO", 0, "lib"],
    ]  # fmt: skip


def test_every_kind_of_metric(published: duckdb.DuckDBPyConnection) -> None:
    """67: all five kinds are stored, point by point."""
    found = published.execute("SELECT name, count(*) FROM metrics GROUP BY ALL ORDER BY 1").fetchall()
    assert found == [(name, 2) for name in ("cumulative", "delta", "gauge", "histogram", "summary", "wide")]


def test_many_attributes(data: Path) -> None:
    """62, [23]: ten thousand attributes and a value of a mebibyte are kept whole."""
    (shown,) = show(data, f"{7:032x}")["span_documents"]
    kept = shown["attributes"]
    assert kept["large"] == "x" * (1 << 20)
    assert [kept[f"key {number}"] for number in range(10_000)] == list(range(10_000))


def test_hostile_names_are_plain_data(data: Path, published: duckdb.DuckDBPyConnection) -> None:
    """46, [30]: service, model, session and name may be any text: it is stored as sent and never names a file."""
    found = published.execute(
        "SELECT coalesce(service_name, ''), coalesce(request_model, ''), coalesce(session_id, ''), coalesce(name, ''), "
        "tenant FROM spans WHERE trace_id = ? ORDER BY span_id", [f"{5:032x}"],
    ).fetchall()  # fmt: skip
    assert found == [(text, text, text, text, "default") for text in HOSTILE]
    plain = re.compile(r"[A-Za-z0-9_.=-]+")
    assert [path for path in data.rglob("*") if not plain.fullmatch(path.name)] == []
    assert {path.name for path in data.parent.iterdir()} == {"data"}
    assert {path.name for path in (data / "lake" / "spans" / "gen=0").iterdir()} == {
        "date=1970-01-01", "date=2025-11-20"
    }  # fmt: skip


def test_impossible_usage_overflows_nothing(published: duckdb.DuckDBPyConnection) -> None:
    """[26] Counts below zero, not finite, not numbers or without end are no counts, or are summed without overflow."""
    kept = published.execute(
        "SELECT input_tokens FROM calls WHERE trace_id = ? ORDER BY span_id", [f"{9:032x}"]
    ).fetchall()
    total = sum(count or 0 for (count,) in kept)
    assert [count for (count,) in kept[2:]] == [None] * 6
    rolled = published.execute("SELECT sum(input_tokens), count(*) FROM calls").fetchone()
    assert published.execute("SELECT sum(input_tokens), sum(calls) FROM rollup_daily").fetchone() == rolled
    assert rolled is not None
    assert rolled[0] >= total
