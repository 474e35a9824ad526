"""Values are read by columns exactly as one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanfold.semconv import value_columns
from spanfold.semconv.anyvalue import decode_any_value, from_otlp_json, needs_type, to_otlp_json
from spanfold.semconv.attribute_json import quoted
from spanfold.semconv.ids import hex_ids
from spanfold.semconv.records import AttributeColumns, attribute_columns, scatter
from tests.semconv.otlp import TEXTS, VALUES, any_value, key_values, same


def columns(*rows: dict[str, Any]) -> AttributeColumns:
    return attribute_columns([key_values(row) for row in rows])


def listed(found: tuple[Any, Any]) -> list[list[Any]]:
    return [values.tolist() for values in found]


ROWS = (
    {"k": "7", "n": 7, "flag": True, "list": ["a"]},
    {"k": " 2.5 ", "n": 2.5, "flag": "TRUE", "list": "a"},
    {"other": None},
    {"k": "seven", "n": math.inf, "flag": "no", "list": [1]},
    {"k": 2**63 - 1, "n": -(2**63), "flag": False},
    {"k": "", "n": "-3", "flag": 1},
)


def test_strings() -> None:
    """`strings` gives the rows and texts of string values only."""
    rows, texts = columns(*ROWS).strings("k")
    assert rows.tolist() == [0, 1, 3, 5]
    assert texts.to_pylist() == ["7", " 2.5 ", "seven", ""]
    assert columns(*ROWS).strings("absent")[1].to_pylist() == []


def test_numbers() -> None:
    """`integers` and `numbers` take ints, doubles and numeric strings, and leave out what is no number."""
    attributes = columns(*ROWS)
    assert listed(attributes.integers("n")) == [[0, 4, 5], [7, -(2**63), -3]]
    assert listed(attributes.numbers("n")) == [[0, 1, 3, 4, 5], [7, 2.5, math.inf, -(2.0**63), -3]]
    assert listed(attributes.integers("k")) == [[0, 4], [7, 2**63 - 1]]


def test_booleans() -> None:
    """`booleans` takes booleans and their names in any case."""
    assert listed(columns(*ROWS).booleans("flag")) == [[0, 1, 4], [True, True, False]]


def test_objects_and_masks() -> None:
    """`objects` gives any kind as Python has it; `mask`, `positions_in` and `keys_like` find keys."""
    attributes = columns(*ROWS)
    assert attributes.objects("list") == [(0, ["a"]), (1, "a"), (3, [1])]
    assert attributes.objects("other") == [(2, None)]
    assert attributes.mask("other").tolist() == [False, False, True, False, False, False]
    assert attributes.rows[attributes.positions_in("k", [1, 2, 4])].tolist() == [1, 4]
    assert attributes.keys_like(lambda key: key.startswith("ot")) == ["other"]
    assert attributes.has_key("k")
    assert not attributes.has_key("")


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, max_size=12))
def test_kinds_by_column(values: list[Any]) -> None:
    """Every kind of value reads the same in a column as alone, whatever stands beside it."""
    raw = pa.array([any_value(value).SerializeToString() for value in values], pa.binary())
    raw = value_columns.canonical(raw)
    kinds = value_columns.kinds(raw)
    alone = [decode_any_value(item) for item in raw.to_pylist()]
    readers = {
        value_columns.STRING: value_columns.texts,
        value_columns.BYTES: value_columns.payloads,
        value_columns.INT: value_columns.integers,
        value_columns.DOUBLE: value_columns.doubles,
        value_columns.BOOL: value_columns.booleans,
    }
    for kind, read in readers.items():
        at = np.flatnonzero(kinds == kind)
        expected = [alone[i] for i in at]
        assert same(read(raw.take(pa.array(at))).tolist(), expected)
    assert value_columns.canonical(raw).equals(raw)


def test_long_texts() -> None:
    """Texts of every length of header come out whole, mixed in one column and from a slice of it."""
    sizes = [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 5]
    values = pa.array([any_value("é" + "x" * size).SerializeToString() for size in sizes], pa.binary())
    assert [len(text) - 1 for text in value_columns.texts(value_columns.canonical(values)).to_pylist()] == sizes
    part = values.slice(2, 4)
    assert [len(text) - 1 for text in value_columns.texts(value_columns.canonical(part)).to_pylist()] == sizes[2:6]


@given(VALUES)
def test_otlp_json_round_trip(value: Any) -> None:
    """OTLP JSON holds every value, also through JSON text; plain JSON holds those that need no type."""
    assert same(from_otlp_json(orjson.loads(orjson.dumps(to_otlp_json(value)))), value)
    if not needs_type(value):
        assert same(orjson.loads(orjson.dumps(value)), value)


@given(st.lists(TEXTS, max_size=20), st.integers(0, 3))
def test_quoted(texts: list[str], start: int) -> None:
    """A column of texts becomes JSON strings, from a slice too."""
    array = pa.array(texts, pa.string()).slice(start)
    assert quoted(array).to_pylist() == [orjson.dumps(text).decode() for text in texts[start:]]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x00\xff\x10" + bytes(13), "00ff10" + "0" * 26),
        (b"", None),
        (bytes(16), None),
        (b"\x01", "01"),
    ],
)
def test_hex_ids(raw: bytes, text: str | None) -> None:
    """Ids are lower-case hex; none and zeros are NULL; an odd length stays visible; slices work."""
    array = pa.array([b"x", raw, raw, b"\xab" * 8])
    assert hex_ids(array).to_pylist() == ["78", text, text, "ab" * 8]
    assert hex_ids(array.slice(1, 2)).to_pylist() == [text, text]
    assert hex_ids(array.slice(0, 0)).to_pylist() == []


def test_scatter() -> None:
    """Values stand at their rows, NULL elsewhere, and of two for one row the last."""
    assert scatter(4, np.array([2, 0, 2]), ["a", "b", "c"], pa.string()).to_pylist() == ["b", None, "c", None]
    assert scatter(2, np.array([], np.int64), pa.array([], pa.string()), pa.string()).to_pylist() == [None, None]
