"""Who sent a row: tenant, resource and scope, the same columns for spans, logs and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from spanfold.semconv.anyvalue import jsonable, plain
from spanfold.semconv.dialect import Source
from spanfold.semconv.dialects.common import COMMON, RESOURCE_KEYS
from spanfold.semconv.fill import Filler
from spanfold.semconv.fill_columns import TextColumn
from spanfold.semconv.privacy import must_hide
from spanfold.semconv.records import AttributeColumns, Record, Resource, json_text

DIMENSIONS = ("service_name", "service_version", "environment", "project", "key_label", "session_id", "user_id")

_TEXTS: dict[str, Callable[[Resource], str | None]] = {
    "tenant": lambda origin: origin.tenant,
    "scope_name": lambda origin: origin.scope_name or None,
    "scope_version": lambda origin: origin.scope_version or None,
    "scope_attributes": lambda origin: _object(_divided(origin.scope_attributes)[0]),
    "resource": lambda origin: _object(_divided(origin.attributes)[0]),
    "resource_schema_url": lambda origin: origin.schema_url or None,
    "scope_schema_url": lambda origin: origin.scope_schema_url or None,
}


def read_origin(record: Record, resource: Any, scope: Any) -> Resource:
    """From the protobuf messages of one scope of one resource (`ResourceSpans` and `ScopeSpans`, or their like)."""
    return Resource(
        attributes={entry.key: plain(entry.value) for entry in resource.resource.attributes},
        schema_url=resource.schema_url,
        scope_name=scope.scope.name,
        scope_version=scope.scope.version,
        scope_attributes={entry.key: plain(entry.value) for entry in scope.scope.attributes},
        scope_schema_url=scope.schema_url,
        tenant=record.tenant,
        key_label=record.key_label,
        received_ns=record.received_ns,
        dropped_attributes=resource.resource.dropped_attributes_count + scope.scope.dropped_attributes_count,
    )


def origin_columns(origins: Sequence[Resource], index: pa.Array) -> dict[str, pa.Array]:
    """The origin columns of rows whose origin is `origins[index[row]]`, without the dimensions."""
    columns = {name: pa.array([read(o) for o in origins], pa.string()).take(index) for name, read in _TEXTS.items()}
    received = pa.array([origin.received_ns // 1000 for origin in origins], pa.timestamp("us"))
    return columns | {"received_time": received.take(index)}


def hidden_of_origins(origins: Sequence[Resource], index: pa.Array) -> dict[str, dict[int, dict[str, Any]]]:
    """Column -> row -> the resource's or scope's attributes that only the encrypted store may hold."""
    out: dict[str, dict[int, dict[str, Any]]] = {"resource": {}, "scope_attributes": {}}
    owner = np.asarray(index)
    for at, origin in enumerate(origins):
        for name, attributes in (("resource", origin.attributes), ("scope_attributes", origin.scope_attributes)):
            hidden = _divided(attributes)[1]
            if hidden:
                out[name] |= dict.fromkeys(np.flatnonzero(owner == at).tolist(), jsonable(hidden))
    return out


def _divided(attributes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what may stand in clear, what may not), by the rule for attributes of spans."""
    hidden = {key: value for key, value in attributes.items() if must_hide(key, value)}
    return {key: value for key, value in attributes.items() if key not in hidden}, hidden


def dimension_columns(
    attributes: AttributeColumns, origins: Sequence[Resource], index: pa.Array
) -> dict[str, pa.Array]:
    """The columns of DIMENSIONS for log records and metric points: the first that is present of their own attribute,
    the resource's, baggage copied with a prefix, the API key's label."""
    filler = Filler(attributes, np.zeros(attributes.length, np.uint64), {})
    for name in DIMENSIONS:
        keys = RESOURCE_KEYS.get(name, ())
        _fill(filler, name, (source for source in COMMON.fields.get(name, ()) if not source.event))
        for key in keys:
            _offer(filler, name, [_text(origin.attributes.get(key)) for origin in origins], index)
        _fill(filler, name, (Source(f"baggage.{key}") for key in keys))
    _offer(filler, "key_label", [origin.key_label for origin in origins], index)
    return {name: column.array() for name, column in filler.columns.items() if isinstance(column, TextColumn)}


def _fill(filler: Filler, name: str, sources: Iterable[Source]) -> None:
    for source in sources:
        if filler.has(source):
            filler.fill(name, source, None)


def _offer(filler: Filler, name: str, values: Sequence[str | None], index: pa.Array) -> None:
    column = filler.column(name)
    if isinstance(column, TextColumn):
        column.offer(np.arange(len(index)), pa.array(values, pa.string()).take(index))


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int | float) else None


def _object(attributes: dict[str, Any]) -> str | None:
    """A JSON object; NULL if it is empty. Bytes stand as base64, NaN and infinities as null."""
    return json_text(jsonable(attributes)) if attributes else None
