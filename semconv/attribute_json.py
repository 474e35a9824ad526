"""Attributes to JSON text per row, in columns: every distinct (key, value) is written once and joined by reference.

Keys and values are data: they are escaped into JSON here and are nothing else anywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spanfold.semconv import value_columns
from spanfold.semconv.anyvalue import SAFE_INTEGER, decode_any_value, jsonable, needs_type, to_otlp_json
from spanfold.semconv.records import AttributeColumns, json_text
from spanfold.semconv.value_columns import BOOL, DOUBLE, INT, STRING, Rows, binary_parts, put_back

_ESCAPED = np.zeros(256, np.bool_)  # bytes that JSON text cannot hold as they are
_ESCAPED[:0x20] = _ESCAPED[ord('"')] = _ESCAPED[ord("\\")] = True


def attribute_objects(attributes: AttributeColumns, at: Rows) -> tuple[pa.StringArray, pa.StringArray]:
    """(plain JSON, OTLP JSON) objects of each row from the attributes at these positions, which ascend.

    The second holds only the keys whose value plain JSON loses: bytes, unset, NaN, infinities, integers beyond 2^53.
    NULL stands where a row has none.
    """
    unique = attributes.raw_at(at).dictionary_encode()
    codes, plain = np.asarray(unique.indices), _plain_json(unique.dictionary)
    typed = _typed_json(unique.dictionary)
    special = np.asarray(typed.is_valid())[codes] if typed.null_count < len(typed) else np.zeros(len(at), np.bool_)
    return (
        _objects(attributes, at, codes, plain),
        _objects(attributes, at[special], codes[special], typed),
    )


def _objects(
    attributes: AttributeColumns, at: Rows, codes: NDArray[np.int32], values: pa.StringArray
) -> pa.StringArray:
    """The object of each row; codes[i] says which of `values` stands at position at[i]."""
    if not len(at):
        return pa.nulls(attributes.length, pa.string())
    pairs = pa.array(attributes.codes[at].astype(np.int64) * len(values) + codes).dictionary_encode()
    keys, held = np.divmod(np.asarray(pairs.dictionary), len(values))
    names = pa.array([orjson.dumps(key).decode() for key in attributes.keys], pa.string())
    members = pc.binary_join_element_wise(names.take(pa.array(keys)), values.take(pa.array(held)), ":")
    counts = np.bincount(attributes.rows[at], minlength=attributes.length)
    offsets = np.zeros(attributes.length + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    lists = pa.ListArray.from_arrays(pa.array(offsets), members.take(pairs.indices), mask=pa.array(counts == 0))
    return pc.binary_join_element_wise("{", pc.binary_join(lists, ","), "}", "")


def _plain_json(values: pa.BinaryArray) -> pa.StringArray:
    """JSON text of each of these (distinct) values."""
    tags = value_columns.kinds(values)
    writers: list[tuple[int, Callable[[pa.BinaryArray], pa.Array]]] = [
        (STRING, lambda raw: quoted(value_columns.texts(raw))),
        (INT, lambda raw: pa.array(value_columns.integers(raw)).cast(pa.string())),
        (DOUBLE, lambda raw: _numbers(value_columns.doubles(raw))),
        (BOOL, lambda raw: pa.array(value_columns.booleans(raw)).cast(pa.string())),
    ]
    groups, pieces = [], []
    for tag, write in writers:
        places = np.flatnonzero(tags == tag)
        groups.append(places)
        pieces.append(write(values.take(pa.array(places))))
    rest = np.flatnonzero(~np.isin(tags, (STRING, INT, DOUBLE, BOOL)))
    groups.append(rest)
    decoded = [decode_any_value(raw) for raw in values.take(pa.array(rest)).to_pylist()]
    pieces.append(pa.array([json_text(jsonable(value)) for value in decoded], pa.string()))
    return put_back(groups, pieces)


def quoted(texts: pa.StringArray) -> pa.StringArray:
    """Texts as JSON strings. Only those that need escapes are looked at one by one."""
    offsets, data = binary_parts(texts)
    hits = np.flatnonzero(_ESCAPED[data[offsets[0] : offsets[-1]]]) + offsets[0]
    out = pc.binary_join_element_wise('"', texts, '"', "")
    if not len(hits):
        return out
    at = np.unique(np.searchsorted(offsets, hits, side="right") - 1)
    escaped = [orjson.dumps(text).decode() for text in texts.take(pa.array(at)).to_pylist()]
    return _put(out, at, pa.array(escaped, pa.string()))


def _numbers(values: NDArray[np.float64]) -> pa.StringArray:
    """The shortest text that reads back as the same double, always with a point or exponent; NaN becomes null."""
    return pa.array(orjson.dumps(values.tolist()).decode()[1:-1].split(",") if len(values) else [], pa.string())


def _typed_json(values: pa.BinaryArray) -> pa.StringArray:
    """OTLP JSON of those values that plain JSON loses; NULL for the others."""
    tags = value_columns.kinds(values)
    out = pa.nulls(len(values), pa.string())
    whole = np.flatnonzero(tags == INT)
    numbers = value_columns.integers(values.take(pa.array(whole)))
    large = (numbers > SAFE_INTEGER) | (numbers < -SAFE_INTEGER)
    digits = pa.array(numbers[large]).cast(pa.string())  # often many: times in nanoseconds
    out = _put(out, whole[large], pc.binary_join_element_wise('{"intValue":"', digits, '"}', ""))
    decimals = np.flatnonzero(tags == DOUBLE)
    odd = ~np.isfinite(value_columns.doubles(values.take(pa.array(decimals))))
    at = np.sort(np.concatenate([decimals[odd], np.flatnonzero(~np.isin(tags, (STRING, BOOL, INT, DOUBLE)))]))
    decoded = [decode_any_value(raw) for raw in values.take(pa.array(at)).to_pylist()]
    texts = [json_text(to_otlp_json(value)) if needs_type(value) else None for value in decoded]
    return _put(out, at, pa.array(texts, pa.string()))


def _put(array: pa.StringArray, at: Rows, values: pa.StringArray) -> pa.StringArray:
    """The array with values[i] at at[i]; `at` ascends."""
    mask = np.zeros(len(array), np.bool_)
    mask[at] = True
    return pc.replace_with_mask(array, pa.array(mask), values)
