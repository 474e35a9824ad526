"""One OTLP `AnyValue` at a time: bytes to plain Python, and to and from OTLP JSON (common/v1/common.proto).

Only for values that column code cannot take: nested lists and maps, rare kinds, distinct values of a dictionary.
"""

from __future__ import annotations

import base64
import math
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

SAFE_INTEGER = 2**53  # beyond it a reader that knows only doubles (JavaScript) loses digits


def parse_any_value(raw: bytes) -> AnyValue:
    """The message, by protobuf's own parser. Raises ValueError on malformed bytes."""
    try:
        value: AnyValue = AnyValue.FromString(raw)
        return value
    except DecodeError as error:
        raise ValueError(f"not a valid OTLP AnyValue: {error}") from error


def decode_any_value(raw: bytes | None) -> Any:
    """str, bool, int, float, bytes, list, dict or None (unset). Raises ValueError on malformed bytes."""
    if not raw:
        return None
    return plain(parse_any_value(raw))


def plain(value: AnyValue) -> Any:
    """The value as Python has it; of a key that stands twice in a map, the last value."""
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


def needs_type(value: Any) -> bool:
    """Would plain JSON lose what this value is? Bytes, unset, NaN, infinities and integers beyond 2^53."""
    if isinstance(value, list):
        return any(needs_type(item) for item in value)
    if isinstance(value, dict):
        return any(needs_type(item) for item in value.values())
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, int):
        return abs(value) > SAFE_INTEGER
    return value is None or isinstance(value, bytes)


def to_otlp_json(value: Any) -> dict[str, Any]:
    """The value as an OTLP JSON `AnyValue` object; `{}` is the unset value."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else _NOT_FINITE[str(value)]}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, list):
        return {"arrayValue": {"values": [to_otlp_json(item) for item in value]}}
    entries = [{"key": key, "value": to_otlp_json(item)} for key, item in value.items()]
    return {"kvlistValue": {"values": entries}}


def from_otlp_json(value: dict[str, Any]) -> Any:
    """The inverse of `to_otlp_json`."""
    for kind, held in value.items():
        if kind == "intValue":
            return int(held)
        if kind == "doubleValue":
            return float(held)
        if kind == "bytesValue":
            return base64.b64decode(held)
        if kind == "arrayValue":
            return [from_otlp_json(item) for item in held["values"]]
        if kind == "kvlistValue":
            return {entry["key"]: from_otlp_json(entry["value"]) for entry in held["values"]}
        return held
    return None


_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
