"""OTLP `AnyValue` bytes to plain Python, by the wire format (opentelemetry-proto common/v1/common.proto).

Only for values that column code cannot take: nested lists and maps, rare kinds, unique values of a dictionary.
"""

from __future__ import annotations

import base64
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue

MAX_DEPTH = 48  # nesting that is decoded; protobuf itself refuses a little above


def decode_any_value(raw: bytes | None) -> Any:
    """str, bool, int, float, bytes, list, dict or None (unset). Raises google DecodeError on malformed bytes."""
    if not raw:
        return None
    return plain(AnyValue.FromString(raw))


def plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {item.key: plain(item.value) for item in value.kvlist_value.values}
    return getattr(value, kind)


def jsonable(value: Any) -> Any:
    """The same with bytes as base64, so that JSON can hold it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [jsonable(item) for item in value]
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    return value
