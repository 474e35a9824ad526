"""Attributes that a column stands for: told apart by exact equality, so that nothing is stored twice or lost.

Bit i of `spans.promoted` says: this span had attribute PROMOTED[i].key, of PROMOTED[i].kind, with exactly the value
that PROMOTED[i].column holds. Where the normaliser made something else of the value, the attribute stays beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spanfold.semconv import value_columns
from spanfold.semconv.anyvalue import decode_any_value
from spanfold.semconv.records import AttributeColumns
from spanfold.semconv.schema import PROMOTED
from spanfold.semconv.value_columns import ARRAY, BOOL, INT, STRING

_KINDS = {"string": STRING, "int": INT, "bool": BOOL, "strings": ARRAY}
_JOINT = "\x1f"


def promoted(
    attributes: AttributeColumns, fields: Mapping[str, pa.Array]
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """(bits of each row, flag of each attribute: a column stands for it)."""
    bits = np.zeros(attributes.length, np.uint64)
    taken = np.zeros(len(attributes.codes), np.bool_)
    for position, rule in enumerate(PROMOTED):
        column = fields.get(rule.column)
        at = attributes.of_kind(rule.key, _KINDS[rule.kind])
        if column is None or not len(at):
            continue
        same = _same(attributes, rule.key, rule.kind, column.take(pa.array(attributes.rows[at])))
        taken[at[same]] = True
        bits[attributes.rows[at[same]]] |= np.uint64(1 << position)
    return bits, taken


def _same(attributes: AttributeColumns, key: str, kind: str, held: pa.Array) -> NDArray[np.bool_]:
    """Of the values of this kind under this key: is what the column holds the same?"""
    sent: Any
    if kind == "string":
        sent = attributes.strings(key)[1]
    elif kind == "int":
        sent = pa.array(attributes.ints(key))
    else:
        raw = attributes.raw_at(attributes.of_kind(key, _KINDS[kind]))
        if kind == "strings":
            return _same_lists(raw, held)
        sent = pa.array(value_columns.booleans(raw))
    return _flags(pc.equal(sent, held.cast(sent.type)))


def _same_lists(raw: pa.BinaryArray, held: pa.ListArray) -> NDArray[np.bool_]:
    """Lists are compared as joined texts; a sent list that holds the joint itself, or no text, is never the same."""
    unique = raw.dictionary_encode()
    values = [decode_any_value(item) for item in unique.dictionary.to_pylist()]
    plain = [all(isinstance(item, str) and _JOINT not in item for item in value) for value in values]
    joined = [_JOINT.join(value) if good else None for value, good in zip(values, plain, strict=True)]
    sent = pa.array(joined, pa.string()).take(unique.indices)
    sizes = pa.array([len(value) for value in values], pa.int32()).take(unique.indices)
    texts = pc.binary_join(held.cast(pa.list_(pa.string())), _JOINT)
    return _flags(pc.and_(pc.equal(sent, texts), pc.equal(sizes, pc.list_value_length(held))))


def _flags(array: pa.BooleanArray) -> NDArray[np.bool_]:
    return np.asarray(array.fill_null(False))
