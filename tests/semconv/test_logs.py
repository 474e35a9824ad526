"""Log records are kept as sent, with their bodies private and their dimensions in columns."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from spanfold.collector.decode import decode_logs
from spanfold.semconv.anyvalue import plain
from spanfold.semconv.keep import Kept
from spanfold.semconv.log_records import keep_logs
from spanfold.semconv.restore import restore_attributes, restore_body
from spanfold.semconv.schema import LOGS
from tests.semconv.otlp import ATTRIBUTES, VALUES, any_value, captured, key_values, log_request, same


@dataclass(frozen=True)
class Piece:
    """What a reader of content understood of one record."""

    row: int
    keys: frozenset[str] = frozenset()
    body: bool = False


def stored(kept: Kept) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    table = pa.table(list(kept.columns.values()), names=list(kept.columns)).to_pylist()
    private = {row: orjson.loads(orjson.dumps(value)) for row, value in kept.private}
    return [(row, private.get(index, {})) for index, row in enumerate(table)]


@settings(max_examples=60, deadline=None)
@given(ATTRIBUTES, st.none() | VALUES)
def test_round_trip(attributes: dict[str, Any], body: Any) -> None:
    """Attributes and body of any log record come back with their types."""
    log = LogRecord(attributes=key_values(attributes), body=any_value(body))
    row, private = stored(keep_logs(decode_logs([log_request(log)])))[0]
    assert same(restore_attributes(row, private), attributes)
    assert same(restore_body(private), plain(any_value(body)))


def test_a_record() -> None:
    """Ids, both times, severity, name and dimensions stand in columns; the body is private."""
    log = LogRecord(
        trace_id=b"\xaa" * 16, span_id=b"\x0b" * 8, time_unix_nano=1_763_501_811_172_823_460,
        observed_time_unix_nano=1_763_501_811_172_900_001, severity_number=9, severity_text="INFO",
        event_name="gen_ai.user.message", body=any_value({"content": "hello", "raw": b"\x01"}), flags=1,
        dropped_attributes_count=2, attributes=key_values({"session.id": "s-1", "user.id": 7, "n": 1}),
    )  # fmt: skip
    resource = {"service.name": "shop", "service.version": "2", "deployment.environment.name": "prod"}
    row, private = stored(keep_logs(decode_logs([log_request(log, resource=resource)])))[0]
    assert (row["trace_id"], row["span_id"]) == ("aa" * 16, "0b" * 8)
    assert row["time"] == dt.datetime(2025, 11, 18, 21, 36, 51, 172823)
    assert (row["time_nanos"], row["observed_nanos"]) == (460, 1)
    assert row["observed_time"] == dt.datetime(2025, 11, 18, 21, 36, 51, 172900)
    assert (row["severity_number"], row["severity_text"], row["event_name"]) == (9, "INFO", "gen_ai.user.message")
    assert (row["service_name"], row["service_version"], row["environment"], row["project"]) == (
        "shop",
        "2",
        "prod",
        "shop",
    )
    assert (row["session_id"], row["user_id"], row["scope_name"]) == ("s-1", "7", "events")
    assert (row["flags"], row["dropped_attributes"]) == (1, 2)
    assert private == {
        "body": {"content": "hello", "raw": "AQ=="},
        "body_typed": {"kvlistValue": {"values": [
            {"key": "content", "value": {"stringValue": "hello"}}, {"key": "raw", "value": {"bytesValue": "AQ=="}},
        ]}},
    }  # fmt: skip


def test_sparse_records() -> None:
    """Without a time of its own a record has the time of observation; without an event name its attribute's."""
    logs = [
        LogRecord(observed_time_unix_nano=2_000_001, attributes=key_values({"event.name": "codex.user_prompt"})),
        LogRecord(time_unix_nano=3_000, event_name="own", attributes=key_values({"event.name": "other"})),
        LogRecord(),
    ]
    rows = [row for row, _ in stored(keep_logs(decode_logs([log_request(*logs)])))]
    epoch = dt.datetime(1970, 1, 1)
    assert [row["time"] for row in rows] == [epoch + dt.timedelta(microseconds=us) for us in (2000, 3, 0)]
    assert [row["observed_time"] for row in rows] == [epoch + dt.timedelta(microseconds=2000), None, None]
    assert [row["time_nanos"] for row in rows] == [1, 0, 0]
    assert [row["event_name"] for row in rows] == ["codex.user_prompt", "own", None]
    assert [row["trace_id"] for row in rows] == [None, None, None]
    assert [row["severity_text"] for row in rows] == [None, None, None]


def test_understood_content_is_left_out() -> None:
    """What the content store holds of a record is not kept again; the same key elsewhere stays."""
    log = LogRecord(body=any_value("hello"), attributes=key_values({"gen_ai.input.messages": ["x"], "n": 1}))
    batch = decode_logs([log_request(log, log, log)])
    kept = keep_logs(batch, [Piece(0, frozenset({"gen_ai.input.messages"})), Piece(1, body=True)])
    assert kept.columns["attributes"].to_pylist() == ['{"n":1}'] * 3
    assert kept.private == [
        (0, {"body": "hello"}),
        (1, {"attributes": {"gen_ai.input.messages": ["x"]}}),
        (2, {"attributes": {"gen_ai.input.messages": ["x"]}, "body": "hello"}),
    ]


def test_columns_fit_the_schema() -> None:
    """Captured log requests give columns of the stored types, also a batch of nothing."""
    for records in (captured("*/*-logs-*.pb"), []):
        batch = decode_logs(records)
        kept = keep_logs(batch)
        for name, column in kept.columns.items():
            assert column.type == LOGS.field(name).type, name
            assert len(column) == len(batch.columns)
    assert set(LOGS.names) - set(kept.columns) == {"log_id", "private_block", "private_offset", "private_length"}
