"""Events and links of spans: JSON for the clear columns, and apart from it what only the encrypted store may hold.

Most spans have none; those that have some are read one by one, with protobuf's own parser.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanfold.semconv.anyvalue import jsonable, needs_type, plain, to_otlp_json
from spanfold.semconv.privacy import must_hide
from spanfold.semconv.records import json_text


@dataclass(frozen=True, slots=True)
class Listed:
    """`column`: JSON array of each row, NULL where it has none. `private`: row -> entries
    `{"index": place in the array, "attributes": {...}}`. `failures`: row -> message of its last exception event."""

    column: pa.StringArray
    private: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)


def read_events(
    lists: pa.ListArray,
    understood: Mapping[tuple[int, int], Collection[str]],
    everywhere: Collection[tuple[str, str]] = (),
    unparsed: Collection[tuple[int, str]] = (),
) -> Listed:
    """Raw Event messages (list<binary>) to JSON `{name, time_unix_nano, attributes, dropped_attributes_count}`.

    `understood`: (row, place in the list) -> attribute keys that the content store holds; `everywhere`: (event name,
    key) of which it holds all but those of `unparsed` (row, key). They are left out.
    """
    texts: list[str | None] = [None] * len(lists)
    private: dict[int, list[dict[str, Any]]] = {}
    failures: dict[int, str] = {}
    for row, raw in _filled(lists):
        clear = []
        for index, event in enumerate(map(Span.Event.FromString, raw)):
            attributes = {entry.key: plain(entry.value) for entry in event.attributes}
            if isinstance(message := attributes.get("exception.message"), str):
                failures[row] = message
            elsewhere = understood.get((row, index), ())
            kept = {
                key: value
                for key, value in attributes.items()
                if key not in elsewhere and ((event.name, key) not in everywhere or (row, key) in unparsed)
            }
            entry = {"name": event.name, "time_unix_nano": event.time_unix_nano}
            clear.append(entry | _divided(kept, index, row, private) | _dropped(event))
        texts[row] = json_text(clear)
    return Listed(pa.array(texts, pa.string()), private, failures)


def read_links(lists: pa.ListArray) -> Listed:
    """Raw Link messages (list<binary>) to JSON `{trace_id, span_id, trace_state, attributes, flags}`."""
    texts: list[str | None] = [None] * len(lists)
    private: dict[int, list[dict[str, Any]]] = {}
    for row, raw in _filled(lists):
        clear = []
        for index, link in enumerate(map(Span.Link.FromString, raw)):
            attributes = {entry.key: plain(entry.value) for entry in link.attributes}
            entry = {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex(), "trace_state": link.trace_state}
            clear.append(entry | _divided(attributes, index, row, private) | {"flags": link.flags} | _dropped(link))
        texts[row] = json_text(clear)
    return Listed(pa.array(texts, pa.string()), private)


def attribute_members(attributes: dict[str, Any]) -> dict[str, Any]:
    """`{"attributes": plain JSON}`, with `"attributes_typed"` in OTLP JSON for the keys that plain JSON loses."""
    typed = {key: to_otlp_json(value) for key, value in attributes.items() if needs_type(value)}
    return {"attributes": jsonable(attributes)} | ({"attributes_typed": typed} if typed else {})


def _filled(lists: pa.ListArray) -> Iterator[tuple[int, list[bytes]]]:
    offsets = np.asarray(lists.offsets)
    for row in np.flatnonzero(offsets[1:] > offsets[:-1]).tolist():
        yield row, lists[row].as_py()


def _divided(
    attributes: dict[str, Any], index: int, row: int, private: dict[int, list[dict[str, Any]]]
) -> dict[str, Any]:
    """The clear members; what must hide goes to `private`."""
    hidden = {key: value for key, value in attributes.items() if must_hide(key, value)}
    if hidden:
        private.setdefault(row, []).append({"index": index} | attribute_members(hidden))
        attributes = {key: value for key, value in attributes.items() if key not in hidden}
    return attribute_members(attributes)


def _dropped(item: Any) -> dict[str, int]:
    return {"dropped_attributes_count": item.dropped_attributes_count}
