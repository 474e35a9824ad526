"""The three forms of call records: same records, safe in a spreadsheet, streamed."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanfold import exports

SCHEMA = pa.schema(
    [
        ("span_id", pa.string()),
        ("date", pa.date32()),
        ("start_time", pa.timestamp("us")),
        ("input_tokens", pa.int64()),
        ("cost", pa.float64()),
        ("exact", pa.decimal128(20, 6)),
        ("streaming", pa.bool_()),
        ("finish_reasons", pa.list_(pa.string())),
        ("attributes", pa.string()),
        ("gen_ai.input.messages", pa.string()),
    ]
)
FIRST = {
    "span_id": "00f067aa0ba902b7",
    "date": dt.date(2026, 4, 18),
    "start_time": dt.datetime(2026, 4, 18, 14, 5, 0, 250),
    "input_tokens": -3,
    "cost": 0.25,
    "exact": Decimal("1.500000"),
    "streaming": True,
    "finish_reasons": ["stop"],
    "attributes": '{"a":1}',
    "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"Grüße\\n=1+1"}]}]',
}
EMPTY = dict.fromkeys(SCHEMA.names)
JSON_FIRST = {
    "span_id": "00f067aa0ba902b7",
    "date": "2026-04-18",
    "start_time": "2026-04-18T14:05:00.000250Z",
    "input_tokens": -3,
    "cost": 0.25,
    "exact": 1.5,
    "streaming": True,
    "finish_reasons": ["stop"],
    "attributes": {"a": 1},
    "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "Grüße\n=1+1"}]}],
}


def batches() -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_pylist([FIRST], SCHEMA), pa.RecordBatch.from_pylist([EMPTY], SCHEMA)]


def written(form: str, given_batches: list[pa.RecordBatch], schema: pa.Schema = SCHEMA) -> bytes:
    sink = io.BytesIO()
    assert exports.write(form, given_batches, schema, sink) == sum(b.num_rows for b in given_batches)
    return sink.getvalue()


def test_ndjson_is_one_object_a_line() -> None:
    """Lists, attributes and content are JSON, not text; times end in Z; unknown is null (TB-063)."""
    assert [json.loads(line) for line in written("ndjson", batches()).splitlines()] == [JSON_FIRST, EMPTY]


def test_csv_has_the_same_records() -> None:
    """CSV holds the same values as text, nested ones as JSON, unknown as nothing (TB-063)."""
    header, first, empty = csv.reader(io.StringIO(written("csv", batches()).decode()))
    assert header == SCHEMA.names
    assert first == [
        "00f067aa0ba902b7", "2026-04-18", "2026-04-18T14:05:00.000250Z", "-3", "0.25", "1.500000", "true", '["stop"]',
        '{"a":1}', FIRST["gen_ai.input.messages"],
    ]  # fmt: skip
    assert empty == [""] * len(SCHEMA)


def test_parquet_keeps_types(tmp_path: Path) -> None:
    """Parquet holds the records in the types of the schema."""
    (tmp_path / "x.parquet").write_bytes(written("parquet", batches()))
    assert pq.read_table(tmp_path / "x.parquet").to_pylist() == [FIRST, EMPTY]
    assert pq.read_schema(tmp_path / "x.parquet") == SCHEMA


@pytest.mark.parametrize("form", list(exports.FORMATS))
def test_nothing_to_write_is_a_valid_file(form: str, tmp_path: Path) -> None:
    """No record gives an empty document of the form, with its header where it has one."""
    data = written(form, [])
    if form == "parquet":
        (tmp_path / "x.parquet").write_bytes(data)
        assert pq.read_table(tmp_path / "x.parquet").schema == SCHEMA
    else:
        assert data.decode().strip() == ("" if form == "ndjson" else ",".join(f'"{name}"' for name in SCHEMA.names))


FORMULAS = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0", "＝1", "＋1", "－1", "＠x", "=", "-",
    "\n=1", " =1", "\ufeff=1", "\u200b=1", "\u00a0\u2003=1",
]  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS)
def test_csv_formulas_are_neutralised(text: str) -> None:
    """[37] Text that a spreadsheet would run begins with an apostrophe, also inside lists; numbers stay numbers."""
    schema = pa.schema([("name", pa.string()), ("n", pa.int64())])
    batch = pa.RecordBatch.from_pylist([{"name": text, "n": -1}, {"name": "a " + text, "n": 1}], schema)
    _, bad, good = csv.reader(io.StringIO(written("csv", [batch], schema).decode(), newline=""))
    assert bad == ["'" + text, "-1"]
    assert good == ["a " + text, "1"]


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=5))
def test_any_text_survives_ndjson_and_csv(texts: list[str]) -> None:
    """Whatever a sender put into a name comes back, exactly in NDJSON, neutralised in CSV."""
    schema = pa.schema([("name", pa.string()), ("n", pa.int64())])
    batch = pa.RecordBatch.from_pydict({"name": texts, "n": range(len(texts))}, schema)
    assert [json.loads(x)["name"] for x in written("ndjson", [batch], schema).split(b"\n")[:-1]] == texts
    rows = list(csv.reader(io.StringIO(written("csv", [batch], schema).decode(), newline="")))[1:]
    assert [row[0] for row in rows] == exports.neutral(pa.array(texts, pa.string())).to_pylist()


def test_progress_is_told_batch_by_batch() -> None:
    """Who watches learns of every batch after it was written."""
    seen: list[int] = []
    exports.write("ndjson", batches(), SCHEMA, io.BytesIO(), seen.append)
    assert seen == [1, 1]
