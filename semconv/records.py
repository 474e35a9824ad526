"""Records in flight: one request chunk decoded to columns, before anyone knows what its attributes mean.

A batch keeps the raw `AnyValue` bytes of every attribute beside dictionary codes of the keys. A rule that asks for
`gen_ai.request.model` decodes just the values under that key, for the whole batch at once; nothing loops over spans.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from spanfold.semconv import value_columns
from spanfold.semconv.anyvalue import decode_any_value
from spanfold.semconv.value_columns import BOOL, DOUBLE, INT, STRING, Rows
from spanfold.semconv.value_columns import binary_parts as binary_parts


class Record(Protocol):
    """One accepted request, as reading it needs a journal record."""

    @property
    def tenant(self) -> str: ...
    @property
    def key_label(self) -> str | None: ...
    @property
    def received_ns(self) -> int: ...
    @property
    def body(self) -> bytes: ...


@dataclass(frozen=True)
class AttributeColumns:
    """All attributes of a batch, row by row: `codes[i]` indexes `keys`, `rows[i]` is the span (or log, or point).

    `values` holds raw AnyValue bytes in canonical form (`value_columns.canonical`); rows ascend. No key stands twice
    in one row: the conventions forbid it, and where a sender does it `last_of_each` has kept the last.
    """

    length: int  # rows in the batch
    keys: list[str]
    codes: NDArray[np.int32]
    rows: Rows
    values: pa.BinaryArray
    _texts: dict[str, pa.StringArray] = field(default_factory=dict, repr=False, compare=False)  # read twice: kept
    _ints: dict[str, NDArray[np.int64]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {key: code for code, key in enumerate(self.keys)}

    @cached_property
    def _by_key(self) -> tuple[Rows, Rows]:
        codes = self.codes.astype(np.uint16) if len(self.keys) <= 65536 else self.codes  # 16 bits sort by radix
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(self.codes[order], np.arange(len(self.keys) + 1))
        return order, starts

    @cached_property
    def tags(self) -> NDArray[np.uint8]:
        """The kind of every value (`value_columns.STRING` ...); 0 where no value is set."""
        return value_columns.kinds(self.values)

    def last_of_each(self) -> AttributeColumns:
        """The same without attributes that a later one of the same row and key replaces."""
        order, _ = self._by_key
        codes, rows = self.codes[order], self.rows[order]
        replaced = order[:-1][(codes[1:] == codes[:-1]) & (rows[1:] == rows[:-1])]
        if not len(replaced):
            return self
        keep = np.ones(len(self.codes), np.bool_)
        keep[replaced] = False
        return AttributeColumns(
            length=self.length, keys=self.keys, codes=self.codes[keep], rows=self.rows[keep],
            values=self.values.filter(pa.array(keep)),
        )  # fmt: skip

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
        at = self.of_kind(key, STRING)
        texts = self._texts.get(key)
        if texts is None:
            texts = self._texts[key] = self.text_at(at)
        return self.rows[at], texts

    def ints(self, key: str) -> NDArray[np.int64]:
        """The numbers of `of_kind(key, INT)`."""
        numbers = self._ints.get(key)
        if numbers is None:
            numbers = self._ints[key] = value_columns.integers(self.raw_at(self.of_kind(key, INT)))
        return numbers

    def of_kind(self, key: str, kind: int) -> Rows:
        """Positions in `values` of the values of this kind under this key."""
        at = self.positions(key)
        found: Rows = at[self.tags[at] == kind]
        return found

    def positions_in(self, key: str, rows: Collection[int]) -> Rows:
        """Positions in `values` under this key in these rows."""
        at = self.positions(key)
        found: Rows = at[np.isin(self.rows[at], np.array(list(rows), np.int64))]
        return found

    def raw_at(self, at: Rows) -> pa.BinaryArray:
        """The AnyValue bytes at these positions."""
        return self.values.take(pa.array(at))

    def text_at(self, at: Rows) -> pa.StringArray:
        """The texts of string values at these positions."""
        return value_columns.texts(self.raw_at(at))

    def integers(self, key: str) -> tuple[Rows, NDArray[np.int64]]:
        """(rows, numbers): ints, whole doubles and numeric strings; anything else is not a number and left out."""
        at = self.positions(key)
        known = self.tags[at] == INT
        out = np.zeros(len(at), np.int64)
        out[known] = self.ints(key)
        others = np.flatnonzero(~known)
        numbers = self._numbers_at(at[others])
        whole = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2.0**63)
        out[others[whole]] = numbers[whole].astype(np.int64)
        known[others[whole]] = True
        return self.rows[at[known]], out[known]

    def numbers(self, key: str) -> tuple[Rows, NDArray[np.float64]]:
        """(rows, doubles): ints, doubles and numeric strings under this key."""
        at = self.positions(key)
        numbers = self._numbers_at(at)
        known = ~np.isnan(numbers) | (self.tags[at] == DOUBLE)
        return self.rows[at[known]], numbers[known]

    def _numbers_at(self, at: Rows) -> NDArray[np.float64]:
        """The values at these positions as doubles; NaN where one is no number."""
        tags, out = self.tags[at], np.full(len(at), np.nan)
        ints, decimals, spelled = tags == INT, tags == DOUBLE, np.flatnonzero(tags == STRING)
        out[ints] = value_columns.integers(self.raw_at(at[ints]))
        out[decimals] = value_columns.doubles(self.raw_at(at[decimals]))
        for i, text in zip(spelled, self.text_at(at[spelled]).to_pylist(), strict=True):
            try:
                out[i] = float(text)
            except ValueError:
                continue
        return out

    def booleans(self, key: str) -> tuple[Rows, NDArray[np.bool_]]:
        """(rows, flags): booleans, and the strings "true"/"false" in any case."""
        at = self.positions(key)
        tags = self.tags[at]
        flags, known = np.zeros(len(at), np.bool_), tags == BOOL
        flags[known] = value_columns.booleans(self.raw_at(at[known]))
        spelled = np.flatnonzero(tags == STRING)
        for i, text in zip(spelled, self.text_at(at[spelled]).to_pylist(), strict=True):
            known[i] = text.strip().lower() in ("true", "false")
            flags[i] = known[i] and text.strip().lower() == "true"
        return self.rows[at[known]], flags[known]

    def objects(self, key: str) -> list[tuple[int, Any]]:
        """(row, value) with every value decoded to plain Python; equal values are decoded once."""
        return [(int(r), v) for r, v in zip(self.rows_of(key), self.decode(self.positions(key)), strict=True)]

    def decode(self, at: Rows) -> list[Any]:
        """The values at these positions as plain Python objects (bytes stay bytes, an unset value is None).

        Equal values are one object: do not change what you get.
        """
        unique = self.raw_at(at).dictionary_encode()
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
    dropped_attributes: int = 0  # of resource and scope together, as their sender counted them


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
    the fold compares it with known prefixes and parses only its tail. Of a span it is a view of the chunk's own buffer
    (UTF-8): who keeps it longer than the chunk asks for `kept`. Otherwise `input` holds repaired messages
    `{"role": str, "parts": [{"type": ...}]}`. `output` is always a list, `system` a list of parts, `tools` a list.
    """

    row: int  # index of the span (or log record) in its batch
    source: str  # span | span_event | log
    input_text: str | memoryview | None = None
    input: list[dict[str, Any]] | None = None
    output: list[dict[str, Any]] | None = None
    system: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    lost: int = 0  # leading messages of the input of which an attribute cap took something
    cut: bool = False  # the first message of `input` is one of those: what is left of it
    indexed: bool = False  # an attribute a message: such a history may come again with its beginning lost
    pieces: int = 1  # revision: grows with the pieces of content known
    notes: list[str] = field(default_factory=list)  # what could not be understood (kinds for data quality)

    def kept(self) -> SpanContent:
        """Itself, holding nothing of the chunk that it came in."""
        if isinstance(self.input_text, memoryview):
            self.input_text = str(self.input_text, "utf-8")
        return self


def attribute_columns(lists: Sequence[Iterable[Any]]) -> AttributeColumns:
    """The columns of these lists of protobuf `KeyValue` messages, one list a row."""
    last = [{entry.key: entry.value.SerializeToString() for entry in entries} for entries in lists]
    keys = dict.fromkeys(key for row in last for key in row)
    index = {key: code for code, key in enumerate(keys)}
    return AttributeColumns(
        length=len(lists),
        keys=list(keys),
        codes=np.array([index[key] for row in last for key in row], np.int32),
        rows=np.repeat(np.arange(len(lists)), [len(row) for row in last]),
        values=value_columns.canonical(pa.array([raw for row in last for raw in row.values()], pa.binary())),
    )


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
