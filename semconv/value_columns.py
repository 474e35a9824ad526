"""Columns of raw OTLP `AnyValue` bytes, read without a loop: kinds, texts and numbers of many values at once.

An `AnyValue` that came over the wire is almost always one field: a tag byte and its payload. `canonical` makes that
true of every value of a column, once, where records are decoded; the other functions rely on it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from spanfold.semconv.anyvalue import parse_any_value

Rows = NDArray[np.int64]
Places = NDArray[np.int64] | NDArray[np.int32]

STRING, BOOL, INT, DOUBLE, ARRAY, KVLIST, BYTES = 0x0A, 0x10, 0x18, 0x21, 0x2A, 0x32, 0x3A  # wire tags; 0 = unset
_TO_END = 1 << 40  # binary_slice needs a stop


def binary_parts(array: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """(offsets, bytes) of a binary or string array, honouring its slice offset."""
    buffers = array.buffers()
    wide = pa.types.is_large_binary(array.type) or pa.types.is_large_string(array.type)
    kind = np.int64 if wide else np.int32
    if buffers[1] is None or not len(array):
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    offsets = np.frombuffer(buffers[1], kind)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    data = np.frombuffer(buffers[2], np.uint8) if buffers[2] is not None else np.empty(0, np.uint8)
    return offsets, data


def kinds(values: pa.BinaryArray) -> NDArray[np.uint8]:
    """First byte of every value: its kind; 0 where no value is set."""
    offsets, data = binary_parts(values)
    out = np.zeros(len(values), np.uint8)
    filled = offsets[1:] > offsets[:-1]
    out[filled] = data[offsets[:-1][filled]]
    return out


def texts(values: pa.BinaryArray) -> pa.StringArray:
    """The texts of values that are all of kind STRING (or the payloads of BYTES, if they are UTF-8)."""
    return payloads(values).cast(pa.string())


def payloads(values: pa.BinaryArray) -> pa.BinaryArray:
    """What stands behind tag and length, of values that are all STRING or BYTES."""
    header = header_length(np.diff(binary_parts(values)[0]))
    sizes = np.unique(header)
    if len(sizes) <= 1:
        return pc.binary_slice(values, int(sizes[0]) if len(sizes) else 0, _TO_END)
    groups = [np.flatnonzero(header == size) for size in sizes]
    pieces = [pc.binary_slice(values.take(pa.array(g)), int(s), _TO_END) for g, s in zip(groups, sizes, strict=True)]
    return put_back(groups, pieces)


def integers(values: pa.BinaryArray) -> NDArray[np.int64]:
    """The numbers of values that are all of kind INT."""
    offsets, data = binary_parts(values)
    starts, lengths = offsets[:-1] + 1, np.diff(offsets) - 1
    out = np.zeros(len(values), np.uint64)
    for i in range(int(lengths.max(initial=0))):
        some = lengths > i
        out[some] |= (data[starts[some] + i].astype(np.uint64) & np.uint64(0x7F)) << np.uint64(7 * i)
    return out.view(np.int64)


def doubles(values: pa.BinaryArray) -> NDArray[np.float64]:
    """The numbers of values that are all of kind DOUBLE."""
    offsets, data = binary_parts(values)
    if not len(values):
        return np.empty(0, np.float64)
    return np.ascontiguousarray(data[offsets[:-1, None] + np.arange(1, 9)]).view("<f8").ravel()


def booleans(values: pa.BinaryArray) -> NDArray[np.bool_]:
    """The flags of values that are all of kind BOOL."""
    offsets, data = binary_parts(values)
    return data[offsets[:-1] + 1] != 0 if len(values) else np.empty(0, np.bool_)


def put_back(groups: list[Rows], pieces: list[pa.Array]) -> pa.Array:
    """One array from pieces: pieces[i][j] stands at groups[i][j]; the groups cover every place once."""
    order = np.concatenate(groups)
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.arange(len(order))
    return pa.concat_arrays(pieces).take(pa.array(inverse))


def canonical(values: pa.BinaryArray) -> pa.BinaryArray:
    """The same values, each the one encoding that the functions above expect. ValueError if one is malformed.

    Scalars are checked in columns. Lists, maps and whatever looks odd go through protobuf's own parser, once per
    distinct value, and are written again where that gives other bytes (several fields, unknown fields, long varints).
    """
    odd = np.flatnonzero(~_plain_scalars(values))
    if not len(odd):
        return values
    unique = values.take(pa.array(odd)).dictionary_encode()
    seen = unique.dictionary.to_pylist()
    fixed = [_rewritten(raw) for raw in seen]
    if fixed == seen:
        return values
    mask = np.zeros(len(values), np.bool_)
    mask[odd] = True
    return pc.replace_with_mask(values, pa.array(mask), pa.array(fixed, pa.binary()).take(unique.indices))


def _rewritten(raw: bytes) -> bytes:
    value = parse_any_value(raw)
    if raw[0] in (ARRAY, KVLIST) and value.ByteSize() == len(raw):
        return raw
    plain = AnyValue()
    plain.CopyFrom(value)
    plain.DiscardUnknownFields()
    return bytes(plain.SerializeToString())


def header_length(lengths: Places) -> NDArray[np.int64]:
    """Bytes of tag and length before a payload, from the length of the whole value."""
    return 2 + (lengths > 129) + (lengths > 16386) + (lengths > 2097155) + (lengths > 268435460)


def _plain_scalars(values: pa.BinaryArray) -> NDArray[np.bool_]:
    """Which values are unset or exactly one well-formed scalar field."""
    offsets, data = _raw_parts(values)
    starts, lengths = offsets[:-1], np.diff(offsets)
    if not len(data):
        return np.ones(len(values), np.bool_)
    tags, second = _bytes_at(data, starts), _bytes_at(data, starts + 1)
    tags[lengths == 0] = 0
    texts, two = (tags == STRING) | (tags == BYTES), lengths == 2
    plain: NDArray[np.bool_] = ((tags == DOUBLE) & (lengths == 9)) | (lengths == 0)
    plain |= two & (((tags == BOOL) & (second <= 1)) | ((tags == INT) & (second < 0x80)))
    plain |= texts & (lengths < 130) & (lengths == second.astype(np.int32) + 2)
    rest = np.flatnonzero(~plain)
    ints = rest[(tags[rest] == INT) & (lengths[rest] > 2) & (lengths[rest] <= 11)]
    ints = ints[data[offsets[1:][ints] - 1] < 0x80]
    plain[ints] = _continued(data, starts[ints] + 1, lengths[ints] - 2)
    long = rest[texts[rest] & (lengths[rest] >= 130)]
    plain[long] = _sized(data, starts[long], lengths[long])
    wide = np.zeros(len(values), np.bool_)
    wide[long] = True
    wide |= ~_ascii(values)  # of a short text tag and length are ASCII, too
    return plain & ~_not_utf8(values, np.flatnonzero(wide & plain & (tags == STRING)), starts, lengths, data)


def _raw_parts(array: pa.BinaryArray) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """As `binary_parts`, with the offsets as they are."""
    _, ends, data = array.buffers()
    if ends is None or data is None or not len(array):
        return np.zeros(len(array) + 1, np.int32), np.empty(0, np.uint8)
    return np.frombuffer(ends, np.int32)[array.offset : array.offset + len(array) + 1], np.frombuffer(data, np.uint8)


def _bytes_at(data: NDArray[np.uint8], at: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The bytes at these places; the last byte for a place behind it."""
    return data[np.minimum(at, len(data) - 1)]


def _ascii(values: pa.BinaryArray) -> NDArray[np.bool_]:
    """Which values have no byte over 127."""
    _, ends, data = values.buffers()
    texts = pa.StringArray.from_buffers(len(values), ends, data, offset=values.offset)  # not looked at as UTF-8
    return np.asarray(pc.string_is_ascii(texts).to_numpy(zero_copy_only=False))


def _continued(data: NDArray[np.uint8], starts: Places, counts: Places) -> NDArray[np.bool_]:
    """Do `counts` bytes from `starts` all say that the varint goes on?"""
    good = np.ones(len(starts), np.bool_)
    for i in range(int(counts.max(initial=0))):
        some = counts > i
        good[some] &= data[starts[some] + i] >= 0x80
    return good


def _sized(data: NDArray[np.uint8], starts: Places, lengths: Places) -> NDArray[np.bool_]:
    """Does the length behind the tag say, in its shortest form, exactly what is there?"""
    header = header_length(lengths)
    stated, good = lengths - header, lengths >= header
    for i in range(int(header.max(initial=2)) - 1):
        some = good & (header > i + 1)
        more = np.where(header[some] > i + 2, 0x80, 0)
        good[some] &= data[starts[some] + 1 + i] == ((stated[some] >> (7 * i)) & 0x7F | more)
    return good


def _not_utf8(
    values: pa.BinaryArray, at: Rows, starts: Places, lengths: Places, data: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Which of the texts at these places are not UTF-8. Only those with a byte over 127 are looked at closely."""
    out = np.zeros(len(values), np.bool_)
    at = at[lengths[at] > 2]
    if not len(at):
        return out
    begin = starts[at] + header_length(lengths[at])
    bounds = np.column_stack([begin, starts[at] + lengths[at]]).ravel()
    wide = at[np.maximum.reduceat(data[: bounds[-1]], bounds[:-1])[::2] >= 0x80]
    if len(wide):
        try:
            texts(values.take(pa.array(wide)))
        except pa.ArrowInvalid:
            out[wide] = True
    return out
