"""Records in flight: one request chunk decoded to columns, before anyone knows what its attributes mean.

A batch keeps the raw `AnyValue` bytes of every attribute beside dictionary codes of the keys. A rule that asks for
`gen_ai.request.model` decodes just the values under that key, for the whole batch at once; nothing loops over spans.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spanfold.semconv.anyvalue import decode_any_value

Rows = NDArray[np.int64]

STRING, BOOL, INT, DOUBLE, ARRAY, KVLIST, BYTES = 0x0A, 0x10, 0x18, 0x21, 0x2A, 0x32, 0x3A  # AnyValue wire tags


@dataclass(frozen=True)
class AttributeColumns:
    """All attributes of a batch, row by row: `codes[i]` indexes `keys`, `rows[i]` is the span (or log, or point).

    `values` holds raw AnyValue bytes. Where a key stands twice in one row, the last one counts (the first stays in
    `attributes` nowhere: the conventions forbid it and SDKs do not send it).
    """

    length: int  # rows in the batch
    keys: list[str]
    codes: NDArray[np.int32]
    rows: Rows
    values: pa.BinaryArray

    @cached_property
    def _index(self) -> dict[str, int]:
        return {key: code for code, key in enumerate(self.keys)}

    @cached_property
    def _by_key(self) -> tuple[Rows, Rows]:
        order = np.argsort(self.codes, kind="stable")
        starts = np.searchsorted(self.codes[order], np.arange(len(self.keys) + 1))
        return order, starts

    @cached_property
    def tags(self) -> NDArray[np.uint8]:
        """First byte of every value: the kind of AnyValue; 0 where no value is set."""
        offsets, data = binary_parts(self.values)
        out = np.zeros(len(self.values), np.uint8)
        filled = offsets[1:] > offsets[:-1]
        out[filled] = data[offsets[:-1][filled]]
        return out

    def has_key(self, key: str) -> bool:
        return key in self._index

    def positions(self, key: str) -> Rows:
        """Positions in `values` under this key, in row order."""
        code = self._index.get(key)
        if code is None:
            return np.empty(0, np.int64)
        order, starts = self._by_key
        return order[starts[code] : starts[code + 1]]

    def rows_of(self, key: str) -> Rows:
        return self.rows[self.positions(key)]

    def mask(self, key: str) -> NDArray[np.bool_]:
        """One flag a row: has it this key?"""
        out = np.zeros(self.length, np.bool_)
        out[self.rows_of(key)] = True
        return out

    def keys_like(self, matches: Callable[[str], bool]) -> list[str]:
        return [key for key in self.keys if matches(key)]

    def strings(self, key: str) -> tuple[Rows, pa.StringArray]:
        """(rows, texts) of the string values under this key."""
        at = self.positions(key)
        at = at[self.tags[at] == STRING]
        return self.rows[at], self.text_at(at)

    def text_at(self, at: Rows) -> pa.StringArray:
        """The texts of string values at these positions."""
        raw = self.values.take(pa.array(at))
        offsets, data = binary_parts(raw)
        lengths = np.diff(offsets)
        header = 2 + (lengths > 129) + (lengths > 16386) + (lengths > 2097155) + (lengths > 268435460)
        header = np.minimum(header, lengths)  # tag + varint length
        out_lengths = lengths - header
        out_offsets = np.zeros(len(raw) + 1, np.int64)
        np.cumsum(out_lengths, out=out_offsets[1:])
        keep = np.ones(int(offsets[-1] - offsets[0]), np.bool_)
        base = offsets[:-1] - offsets[0]
        for i in range(6):
            keep[(base + i)[header > i]] = False
        body = data[offsets[0] : offsets[-1]][keep] if len(raw) else np.empty(0, np.uint8)
        return large_text(out_offsets, body)

    def integers(self, key: str) -> tuple[Rows, NDArray[np.int64]]:
        """(rows, numbers): ints, whole doubles and numeric strings; anything else is not a number and left out."""
        rows, numbers = self.numbers(key)
        whole = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2.0**63)
        at = self.positions(key)
        if len(at) and bool((self.tags[at] == INT).all()):
            return self.rows[at], self._varints(at)
        return rows[whole], numbers[whole].astype(np.int64)

    def numbers(self, key: str) -> tuple[Rows, NDArray[np.float64]]:
        """(rows, doubles): ints, doubles and numeric strings under this key."""
        at = self.positions(key)
        tags = self.tags[at]
        out = np.full(len(at), np.nan)
        ints, doubles, texts = tags == INT, tags == DOUBLE, tags == STRING
        if ints.any():
            out[ints] = self._varints(at[ints])
        if doubles.any():
            out[doubles] = [struct.unpack_from("<d", v.as_py(), 1)[0] for v in self.values.take(pa.array(at[doubles]))]
        known = ints | doubles
        if texts.any():
            for i, text in zip(np.flatnonzero(texts), self.text_at(at[texts]).to_pylist(), strict=True):
                try:
                    out[i] = float(text)
                    known[i] = True
                except ValueError:
                    continue
        return self.rows[at[known]], out[known]

    def _varints(self, at: Rows) -> NDArray[np.int64]:
        offsets, data = binary_parts(self.values.take(pa.array(at)))
        lengths = np.diff(offsets) - 1
        out = np.zeros(len(at), np.uint64)
        for i in range(int(lengths.max(initial=0))):
            some = lengths > i
            byte = data[offsets[:-1][some] + 1 + i].astype(np.uint64)
            out[some] |= (byte & np.uint64(0x7F)) << np.uint64(7 * i)
        return out.view(np.int64)

    def booleans(self, key: str) -> tuple[Rows, NDArray[np.bool_]]:
        """(rows, flags): booleans, and the strings "true"/"false" in any case."""
        rows, out = [], []
        for row, value in self.objects(key):
            text = value.strip().lower() if isinstance(value, str) else value
            if text in (True, False, "true", "false"):
                rows.append(row)
                out.append(text in (True, "true"))
        return np.array(rows, np.int64), np.array(out, np.bool_)

    def objects(self, key: str) -> list[tuple[int, Any]]:
        """(row, value) with every value decoded to plain Python; equal values are decoded once."""
        return [(int(r), v) for r, v in zip(self.rows_of(key), self.decode(self.positions(key)), strict=True)]

    def decode(self, at: Rows) -> list[Any]:
        """The values at these positions as plain Python objects (bytes stay bytes, an unset value is None)."""
        unique = self.values.take(pa.array(at)).dictionary_encode()
        decoded = [decode_any_value(raw) for raw in unique.dictionary.to_pylist()]
        return [decoded[i] for i in unique.indices.to_pylist()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Resource and scope of a run of rows: decoded once, referred to by index."""

    attributes: dict[str, Any]
    schema_url: str
    scope_name: str
    scope_version: str
    scope_attributes: dict[str, Any]
    scope_schema_url: str
    tenant: str
    key_label: str | None
    received_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanBatch:
    """Spans of one chunk. `columns` (pa.Table), one row a span: trace_id, span_id, parent_span_id (raw binary),
    trace_state, name, kind (uint32), start_ns, end_ns (uint64), status_code (uint32), status_message, flags (uint32),
    dropped_attributes, dropped_events, dropped_links (uint32), origin (int32: index into `origins`),
    events, links (list<binary>: raw Event and Link messages)."""

    columns: pa.Table
    attributes: AttributeColumns
    origins: list[Resource]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBatch:
    """Log records. `columns`: trace_id, span_id (raw binary), time_ns, observed_ns (uint64), severity_number (uint32),
    severity_text, event_name, body (raw AnyValue bytes), flags, dropped_attributes, origin."""

    columns: pa.Table
    attributes: AttributeColumns
    origins: list[Resource]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanEvent:
    """One span event, decoded."""

    name: str
    time_ns: int
    attributes: dict[str, Any]
    dropped_attributes: int


@dataclass(slots=True, kw_only=True)
class SpanContent:
    """The content found for one span, from one source. Sides not found are None.

    `input_text` is the sender's JSON list of messages exactly as sent, when it came as one string in the newest shape:
    the fold compares it with known prefixes and parses only its tail. Otherwise `input` holds repaired messages
    `{"role": str, "parts": [{"type": ...}]}`. `output` is always a list, `system` a list of parts, `tools` a list.
    """

    row: int  # index of the span (or log record) in its batch
    source: str  # span | span_event | log
    input_text: str | None = None
    input: list[dict[str, Any]] | None = None
    output: list[dict[str, Any]] | None = None
    system: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    pieces: int = 1  # revision: grows with the pieces of content known
    notes: list[str] = field(default_factory=list)  # what could not be understood (kinds for data quality)


def binary_parts(array: Any) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """(offsets, bytes) of a binary or string array, honouring its slice offset."""
    buffers = array.buffers()
    wide = pa.types.is_large_binary(array.type) or pa.types.is_large_string(array.type)
    kind = np.int64 if wide else np.int32
    offsets = np.frombuffer(buffers[1], kind)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    data = np.frombuffer(buffers[2], np.uint8) if buffers[2] is not None else np.empty(0, np.uint8)
    return (offsets if len(offsets) else np.zeros(1, np.int64)), data


def large_text(offsets: NDArray[np.int64], body: NDArray[np.uint8]) -> pa.Array:
    """A string array from offsets and bytes; `string` while it fits 2 GiB."""
    if offsets[-1] < 2**31:
        return pa.Array.from_buffers(
            pa.string(), len(offsets) - 1, [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(body)]
        )
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(body)])


def scatter(length: int, rows: Rows, values: Any, kind: pa.DataType) -> pa.Array:
    """An array of `length` with values[i] at rows[i] and NULL elsewhere; the last value wins."""
    index = np.full(length, -1, np.int64)
    index[rows] = np.arange(len(rows))
    taken = pa.array(index, mask=index < 0)
    source = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)
    return source.cast(kind).take(taken)


def json_text(value: Any) -> str:
    """Compact JSON; NaN and infinities become null (attributes_typed keeps them)."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def distinct(values: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def count_true(mask: pa.Array) -> int:
    return int(pc.sum(mask).as_py() or 0)
