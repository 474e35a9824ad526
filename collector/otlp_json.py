"""OTLP/JSON to OTLP protobuf, by the OTLP 1.11 rules: hex ids in any case, numbers for enums, lowerCamelCase keys only.

protobuf's own JSON parser would read ids as base64 and take other spellings; the rules are those of the official
`opentelemetry-proto-json`, whose dataclasses are the tests' oracle. Unknown keys are ignored at every level and null
means absent. The journal holds protobuf only, so that one reader serves both encodings.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import EncodeError

from spanfold.collector.answers import Code, Refused

_Put = Callable[[Any, Any], None]
_HEX_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id"})
_WIDE_INTEGERS = frozenset(
    {
        FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_FIXED64, FieldDescriptor.TYPE_SFIXED64,
    }
)  # fmt: skip
_FLOATS = frozenset({FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT})
_SPECIAL_FLOATS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_STANDARD = str.maketrans("-_", "+/")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,20}")
_HALVES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)


def to_protobuf(request: type[Any], body: bytes) -> bytes:
    """The same request in protobuf. Raises Refused when it is not OTLP/JSON."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(Code.INVALID_ARGUMENT, f"the body is not JSON: {error}") from error
    message = request()
    try:
        _fill(message, data)
        encoded: bytes = message.SerializeToString()
    except (ValueError, TypeError) as error:
        raise Refused(Code.INVALID_ARGUMENT, f"the body is not OTLP/JSON: {error}") from error
    except (RecursionError, EncodeError) as error:
        raise Refused(Code.INVALID_ARGUMENT, "the body is nested too deeply") from error
    return encoded


def without_halves(body: bytes) -> tuple[bytes, str]:
    """The text with U+FFFD for every half of a surrogate pair, and a sentence about them; "" when there are none.

    JavaScript writes such halves for texts that were cut within a character outside the basic plane; they are no JSON
    that UTF-8 could hold (RFC 8259, 8.2), and would cost the whole request."""
    if b"\\ud" not in body and b"\\uD" not in body:
        return body, ""
    count = 0

    def whole(match: re.Match[bytes]) -> bytes:
        nonlocal count
        count += match[1] is not None
        return match[0] if match[1] is None else b"\\ufffd"

    body = _HALVES.sub(whole, body)
    return body, f"characters that were cut in half, replaced: {count}" if count else ""


def misspelt(request: type[Any], body: bytes) -> str:
    """A sentence about keys in snake_case, which OTLP/JSON ignores; "" when there are none.

    Within a JSON text only a key stands between bare quotes before a colon, so this finds no words of a sender.
    """
    found = {match.decode() for match in _snake_case(request.DESCRIPTOR).findall(body)}
    if not found:
        return ""
    told = ", ".join(sorted(found))
    return f"ignored: {told}; keys of OTLP/JSON are written in lowerCamelCase"


@cache
def _snake_case(descriptor: Descriptor) -> re.Pattern[bytes]:
    """Matches the keys that would be fields of the request, were they not in snake_case."""
    names: set[str] = set()
    known, waiting = set(), [descriptor]
    while waiting:
        message = waiting.pop()
        if message.full_name in known:
            continue
        known.add(message.full_name)
        names.update(field.name for field in message.fields if field.json_name != field.name)
        waiting.extend(field.message_type for field in message.fields if field.message_type is not None)
    return re.compile(rb'"(%s)"\s*:' % "|".join(sorted(names)).encode())


def _fill(message: Any, data: Any) -> None:
    if not isinstance(data, dict):
        raise TypeError(f"{message.DESCRIPTOR.name} must be an object, not {type(data).__name__}")
    plan = _plan(message.DESCRIPTOR)
    for key, value in data.items():
        if value is not None and (put := plan.get(key)) is not None:
            put(message, value)


@cache
def _plan(descriptor: Descriptor) -> dict[str, _Put]:
    """JSON key -> how to set that field."""
    return {field.json_name: _setter(field) for field in descriptor.fields}


def _setter(field: FieldDescriptor) -> _Put:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return _repeated_message(field) if field.is_repeated else _single_message(field)
    convert = _converter(field)
    return _repeated_scalar(field, convert) if field.is_repeated else _single_scalar(field, convert)


def _single_message(field: FieldDescriptor) -> _Put:
    name = field.name

    def put(message: Any, value: Any) -> None:
        inner = getattr(message, name)
        inner.SetInParent()  # `{}` is present, though empty
        _fill(inner, value)

    return put


def _repeated_message(field: FieldDescriptor) -> _Put:
    name = field.name

    def put(message: Any, value: Any) -> None:
        items = getattr(message, name)
        for item in _list(name, value):
            _fill(items.add(), item)

    return put


def _single_scalar(field: FieldDescriptor, convert: Callable[[Any], Any]) -> _Put:
    name = field.name

    def put(message: Any, value: Any) -> None:
        setattr(message, name, convert(value))

    return put


def _repeated_scalar(field: FieldDescriptor, convert: Callable[[Any], Any]) -> _Put:
    name = field.name

    def put(message: Any, value: Any) -> None:
        getattr(message, name).extend(map(convert, _list(name, value)))

    return put


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{name} must be an array, not {type(value).__name__}")
    return value


def _converter(field: FieldDescriptor) -> Callable[[Any], Any]:
    """JSON value -> Python value of one scalar field. The converters raise TypeError and ValueError."""
    name = field.name
    if field.type == FieldDescriptor.TYPE_BYTES:
        read = _hex if name in _HEX_FIELDS else _base64
        return lambda value: read(_typed(name, value, str))
    if field.type == FieldDescriptor.TYPE_STRING:
        return lambda value: _typed(name, value, str)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return lambda value: _typed(name, value, bool)
    if field.type in _FLOATS:
        return lambda value: _float(_typed(name, value, float, int, str))
    if field.type in _WIDE_INTEGERS:
        return lambda value: _whole(_typed(name, value, int, str))
    return lambda value: _typed(name, value, int)  # 32-bit integers and enums: the names of enums are not allowed


def _typed(name: str, value: Any, *types: type) -> Any:
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        wanted = " or ".join(kind.__name__ for kind in types)
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")
    return value


def _hex(value: str) -> bytes:
    try:
        return binascii.unhexlify(value)
    except binascii.Error as error:
        raise ValueError(f"an id is not hexadecimal: {error}") from error


def _base64(value: str) -> bytes:
    """protobuf's JSON: both alphabets, with or without padding."""
    try:
        return base64.b64decode(value.translate(_STANDARD) + "=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"a bytes value is not base64: {error}") from error


def _whole(value: int | str) -> int:
    if isinstance(value, str) and not _WHOLE_NUMBER.fullmatch(value):
        raise ValueError(f"{value[:40]!r} is no whole number")
    return int(value)


def _float(value: float | str) -> float:
    return _SPECIAL_FLOATS[value] if value in _SPECIAL_FLOATS else float(value)
