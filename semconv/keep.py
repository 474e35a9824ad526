"""What is kept of a span as it was sent: everything that the normaliser gave no column or content of its own.

Nothing a sender sent is dropped. Every attribute ends in one place: the content store (understood content), a column
of the same value (`promoted`), the JSON of clear attributes, or the private object that is stored encrypted.
`semconv/restore.py` is the way back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spanfold.semconv import privacy
from spanfold.semconv.attribute_json import attribute_objects
from spanfold.semconv.ids import hex_ids
from spanfold.semconv.origins import hidden_of_origins, origin_columns
from spanfold.semconv.promoted import promoted
from spanfold.semconv.records import AttributeColumns, SpanBatch
from spanfold.semconv.span_events import attribute_members, read_events, read_links
from spanfold.semconv.value_columns import BOOL, DOUBLE, INT, STRING, Rows

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_ERROR_KEYS = ("exception.message", "error.message")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """`columns`: of the table, one value a row. `private`: (row, JSON object) of the rows that have something that
    only the encrypted store may hold: `resource`, `scope_attributes`, `attributes`, `attributes_typed`, `events` and
    `links` (lists of `{"index", "attributes"}`), `status_message`, `error_message`; of log records also `body` and
    `body_typed`."""

    columns: dict[str, pa.Array]
    private: list[tuple[int, dict[str, Any]]]


def keep_spans(
    batch: SpanBatch,
    fields: Mapping[str, pa.Array],
    content_keys: Collection[str],
    *,
    unparsed: Sequence[tuple[int, str]] = (),
    event_content: Mapping[tuple[int, int], Collection[str]] = MappingProxyType({}),
    event_keys: Collection[tuple[str, str]] = (),
) -> Kept:
    """The columns of schema.SPANS that hold what was sent, and the private rest.

    `fields` are the normaliser's columns, with which promoted attributes are compared. Values under `content_keys`
    are in the content store and left out here, except in the rows of `unparsed` (row, key), where nobody understood
    them. `event_content` names the keys that were understood of single span events: (row, place in the list) -> keys;
    `event_keys` (event name, attribute key) those understood wherever they stand, except in the rows of `unparsed`.
    """
    columns, private = _own_columns(batch), Privates()
    bits, taken = promoted(batch.attributes, fields)
    columns["promoted"] = pa.array(bits)
    columns |= keep_attributes(batch.attributes, taken, content_keys, unparsed, private)
    events = read_events(flat(batch.columns["events"]), event_content, frozenset(event_keys), frozenset(unparsed))
    links = read_links(flat(batch.columns["links"]))
    columns |= {"events": events.column, "links": links.column}
    private.add("events", events.private)
    private.add("links", links.private)
    _add_errors(batch, private, events.failures)
    for member, held in hidden_of_origins(batch.origins, flat(batch.columns["origin"])).items():
        private.add(member, held)
    return Kept(columns=columns, private=private.rows())


def keep_again(
    batch: SpanBatch,
    fields: Mapping[str, pa.Array],
    content_keys: Collection[str],
    *,
    unparsed: Sequence[tuple[int, str]] = (),
    event_keys: Collection[tuple[str, str]] = (),
) -> Kept:
    """Of spans that were stored before (`rebuild.rebuilt_batch`): the columns `promoted`, `attributes`,
    `attributes_typed` and `events`, and the private members of these names, as `keep_spans` makes them."""
    private = Privates()
    bits, taken = promoted(batch.attributes, fields)
    columns = {"promoted": pa.array(bits)}
    columns |= keep_attributes(batch.attributes, taken, content_keys, unparsed, private)
    events = read_events(flat(batch.columns["events"]), {}, frozenset(event_keys), frozenset(unparsed))
    private.add("events", events.private)
    return Kept(columns=columns | {"events": events.column}, private=private.rows())


class Privates:
    """Private objects by row."""

    def __init__(self) -> None:
        self._objects: dict[int, dict[str, Any]] = {}

    def add(self, member: str, values: Mapping[int, Any]) -> None:
        for row, value in values.items():
            self._objects.setdefault(row, {})[member] = value

    def get(self, row: int) -> dict[str, Any]:
        return self._objects.get(row, {})

    def rows(self) -> list[tuple[int, dict[str, Any]]]:
        return sorted(self._objects.items())


def keep_attributes(
    attributes: AttributeColumns,
    taken: NDArray[np.bool_],
    content_keys: Collection[str],
    unparsed: Sequence[tuple[int, str]],
    private: Privates,
) -> dict[str, pa.Array]:
    """`attributes` and `attributes_typed` of the clear ones; the private ones are added to `private`.

    `taken` flags the attributes that are stored elsewhere.
    """
    hidden = _hidden(attributes, content_keys, unparsed, taken)
    understood = np.array([key in content_keys for key in attributes.keys], np.bool_)
    clear = ~hidden & ~taken & ~understood[attributes.codes] if len(attributes.keys) else hidden
    by_row: dict[int, dict[str, Any]] = {}
    at = np.flatnonzero(hidden)
    for row, code, value in zip(attributes.rows[at], attributes.codes[at], attributes.decode(at), strict=True):
        by_row.setdefault(int(row), {})[attributes.keys[code]] = value
    members = {row: attribute_members(values) for row, values in by_row.items()}
    private.add("attributes", {row: member["attributes"] for row, member in members.items()})
    typed = {row: member["attributes_typed"] for row, member in members.items() if "attributes_typed" in member}
    private.add("attributes_typed", typed)
    plain, otlp = attribute_objects(attributes, np.flatnonzero(clear))
    return {"attributes": plain, "attributes_typed": otlp}


def _hidden(
    attributes: AttributeColumns,
    content_keys: Collection[str],
    unparsed: Sequence[tuple[int, str]],
    taken: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Which attributes only the encrypted store may hold."""
    keys, codes, tags = attributes.keys, attributes.codes, attributes.tags
    if not len(keys):
        return np.zeros(0, np.bool_)
    understood = np.array([key in content_keys for key in keys], np.bool_)[codes]
    private = np.array([privacy.is_private(key) for key in keys], np.bool_)[codes]
    speaking = np.array([privacy.content_like(key) for key in keys], np.bool_)[codes]
    scalar = (tags == INT) | (tags == DOUBLE) | (tags == BOOL) | (tags == 0)
    out: NDArray[np.bool_] = private | (speaking & ~scalar)
    open_ = ~out & ~taken & ~understood
    out[_long_texts(attributes, np.flatnonzero(open_ & (tags == STRING)))] = True
    out[_large(attributes, np.flatnonzero(open_ & ~scalar & (tags != STRING)))] = True
    out &= ~understood
    rows: dict[str, list[int]] = {}
    for row, key in unparsed:
        rows.setdefault(key, []).append(row)
    for key, odd in rows.items():
        out[attributes.positions_in(key, odd)] = True
    return out & ~taken


def _long_texts(attributes: AttributeColumns, at: Rows) -> Rows:
    """Those of these text positions that hold more than CLEAR_CHARS characters."""
    lengths = np.asarray(pc.binary_length(attributes.values))
    at = at[lengths[at] > privacy.CLEAR_CHARS]
    characters = np.asarray(pc.utf8_length(attributes.text_at(at)))
    return at[characters > privacy.CLEAR_CHARS]


def _large(attributes: AttributeColumns, at: Rows) -> Rows:
    """Those of these positions of lists, maps and bytes that are too much for a clear column."""
    return at[np.array([privacy.too_much(value) for value in attributes.decode(at)], np.bool_)] if len(at) else at


def _own_columns(batch: SpanBatch) -> dict[str, pa.Array]:
    """Everything of a span but attributes, events and links."""
    source = {name: flat(batch.columns[name]) for name in batch.columns.column_names}
    start = np.asarray(source["start_ns"])
    return {
        "trace_id": hex_ids(source["trace_id"]),
        "span_id": hex_ids(source["span_id"]),
        "parent_span_id": hex_ids(source["parent_span_id"]),
        "name": source["name"],
        "kind": _kind_names(source["kind"]),
        "start_time": microseconds(start),
        "start_nanos": pa.array((start % 1000).astype(np.uint16)),
        "duration_ns": pa.array((np.asarray(source["end_ns"]) - start).view(np.int64)),
        "status_code": pa.array(np.minimum(np.asarray(source["status_code"]), 255).astype(np.uint8)),
        "trace_state": none_if_empty(source["trace_state"]),
        "flags": source["flags"],
        "dropped_attributes": source["dropped_attributes"],
        "dropped_events": source["dropped_events"],
        "dropped_links": source["dropped_links"],
    } | origin_columns(batch.origins, source["origin"])


def _kind_names(codes: pa.Array) -> pa.Array:
    """The names of span kinds; a number that OTLP does not know yet stands as its digits."""
    unique = codes.dictionary_encode()
    names = [KINDS[code] if code < len(KINDS) else str(code) for code in unique.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(unique.indices)


def _add_errors(batch: SpanBatch, private: Privates, failures: Mapping[int, str]) -> None:
    """`status_message` as sent; `error_message`: what a reader wants to see first, where it says something else."""
    messages = none_if_empty(flat(batch.columns["status_message"]))
    at = np.flatnonzero(np.asarray(messages.is_valid()))
    stated = dict(zip(at.tolist(), messages.take(pa.array(at)).to_pylist(), strict=True))
    private.add("status_message", stated)
    told: dict[int, str] = {}
    for row, held in private.rows():
        attributes = held.get("attributes", {})
        found = [failures.get(row), *(attributes.get(key) for key in _ERROR_KEYS)]
        message = next((text for text in found if isinstance(text, str) and text), None)
        if message is not None and message != stated.get(row):
            told[row] = message
    private.add("error_message", told)


def flat(column: pa.ChunkedArray) -> Any:
    """The one array of a column."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def microseconds(nanoseconds: NDArray[np.uint64]) -> pa.Array:
    return pa.array((nanoseconds // 1000).astype(np.int64)).cast(pa.timestamp("us"))


def none_if_empty(texts: pa.StringArray) -> pa.StringArray:
    return pc.if_else(pc.equal(texts, ""), None, texts)
