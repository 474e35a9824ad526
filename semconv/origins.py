"""Who sent a row: tenant, resource and scope, the same columns for spans, logs and metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from spanfold.semconv.anyvalue import jsonable
from spanfold.semconv.records import Resource, json_text

_TEXTS: dict[str, Callable[[Resource], str | None]] = {
    "tenant": lambda origin: origin.tenant,
    "scope_name": lambda origin: origin.scope_name or None,
    "scope_version": lambda origin: origin.scope_version or None,
    "scope_attributes": lambda origin: _object(origin.scope_attributes),
    "resource": lambda origin: _object(origin.attributes),
    "resource_schema_url": lambda origin: origin.schema_url or None,
    "scope_schema_url": lambda origin: origin.scope_schema_url or None,
}


def origin_columns(origins: Sequence[Resource], index: pa.Array) -> dict[str, pa.Array]:
    """The origin columns of rows whose origin is `origins[index[row]]`."""
    columns = {name: pa.array([read(o) for o in origins], pa.string()).take(index) for name, read in _TEXTS.items()}
    received = pa.array([origin.received_ns // 1000 for origin in origins], pa.timestamp("us"))
    return columns | {"received_time": received.take(index)}


def _object(attributes: dict[str, Any]) -> str | None:
    """A JSON object; NULL if it is empty. Bytes stand as base64, NaN and infinities as null."""
    return json_text(jsonable(attributes)) if attributes else None
