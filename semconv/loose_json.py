"""JSON as senders really write it: cut in the middle, as a Python repr, with NaN, with lone surrogates.

Nothing here raises. What cannot be read comes back as it was, and the caller notes it.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import json
import re
import warnings
from typing import Any

import orjson

MAX_DEPTH = 150  # orjson reads 1,024 levels but writes only 254
MAX_CUT_DEPTH = 1_000  # deeper than that nothing is read
MAX_REPR = 1 << 20  # longer Python reprs stay text: literal_eval needs about 100 times their length in memory
_OPENERS = {"{": "}", "[": "]"}


def looks_like_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[", '"')


def read_json(text: str | memoryview) -> tuple[Any, str]:
    """(value, trouble) of a text or its UTF-8; trouble is "" for valid JSON, else `loose_json`, `python_repr`,
    `cut_json` or `bad_json`.

    A cut text gives what stood before the cut, strings included. Of a `bad_json` text the value is the text itself.
    """
    try:
        return orjson.loads(text), ""
    except ValueError:
        pass
    text = text if isinstance(text, str) else str(text, "utf-8")
    try:
        return clean(json.loads(text, strict=False, parse_constant=lambda _: None)), "loose_json"
    except (ValueError, RecursionError):
        pass
    if looks_like_repr(text):
        try:
            return clean(_python_repr(text)), "python_repr"
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return clean(text), "bad_json"
    if text.lstrip()[:1] in _OPENERS:
        for attempt, trouble in ((_python_repr, "python_repr"), (_closed, "cut_json")):
            try:
                return clean(attempt(text)), trouble
            except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
                continue
    return clean(text), "bad_json"


def opened(value: Any) -> Any:
    """The value inside a string that holds JSON (an object, a list or a string); anything else as it is."""
    if isinstance(value, str) and (looks_like_json(value) or looks_like_repr(value)):
        inner, trouble = read_json(value)
        return value if trouble == "bad_json" else inner
    return value


_ENUM = re.compile(r"<[A-Za-z_][\w.]*: ('(?:[^'\\]|\\.)*'|\d+)>")  # repr of an enum member: <Role.USER: 'user'>
_OPAQUE = re.compile(r"=<(?:[^<>]|<[^<>]*>)*>")  # repr of a function or object: function=<function f at 0x7f>
_CONSTRUCTOR = re.compile(r"^\s*[A-Z][A-Za-z0-9_]*\(")
_REPR = re.compile(r"^\s*(?:[\[{(]|[A-Z][A-Za-z0-9_]*\()")


def looks_like_repr(text: str) -> bool:
    """A Python constructor call written as text, such as `ChatMessage(role=<Role.USER: 'user'>, ...)`."""
    return bool(_CONSTRUCTOR.match(text))


def _python_repr(text: str) -> Any:
    """Literals, and constructor calls as maps of their keyword arguments. Nothing is executed."""
    if len(text) > MAX_REPR or not _REPR.match(text):
        raise ValueError("not a repr")
    plain = _ENUM.sub(r"\1", text.strip())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a sender's escapes; the text of such a warning would be its words
        try:
            return _literal(ast.parse(plain, mode="eval").body)
        except SyntaxError:
            return _literal(ast.parse(_OPAQUE.sub("=None", plain), mode="eval").body)


def _literal(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [_literal(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {str(_literal(k)): _literal(v) for k, v in zip(keys, values, strict=True) if k is not None}
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Call(args=[], keywords=keywords) if keywords:
            return {word.arg: _literal(word.value) for word in keywords if word.arg}
        case ast.Call(args=[only], keywords=[]):
            return _literal(only)
        case ast.Name(id=name):
            return {"nan": None, "inf": None, "NOT_GIVEN": None}.get(name, name)
        case ast.Attribute() | ast.Call():
            return ast.unparse(node)
    raise ValueError("not a literal")


# A whole string, a string that is never closed, or a character that structures; possessive, so time grows with length.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[\[\]{},]', re.DOTALL)


def _closed(text: str) -> Any:
    """The JSON text with the brackets and the string closed that stood open where it was cut."""
    stack: list[str] = []
    keep = 0  # the last place after which closing gives valid JSON
    for token in _TOKEN.finditer(text):
        char = text[token.start()]
        if char == '"':
            if token[1]:
                continue
            with contextlib.suppress(ValueError):
                return _closed_string(text, "".join(reversed(stack)))
            break
        if char in _OPENERS:
            stack.append(_OPENERS[char])
            if len(stack) > MAX_CUT_DEPTH:
                raise ValueError("too deep")
        elif char != "," and (not stack or stack.pop() != char):
            raise ValueError("brackets do not match")
        keep = token.start() if char == "," else token.end()
    return json.loads(text[:keep] + "".join(reversed(stack)), strict=False)


def _closed_string(text: str, closers: str) -> Any:
    """The JSON text, cut within a string, with that string closed and then what stands around it."""
    end = len(text) - (len(text) - len(text.rstrip("\\"))) % 2  # half an escape goes
    for drop in range(7):  # a \uXXXX escape may be cut as well
        with contextlib.suppress(ValueError):
            return json.loads(text[: end - drop] + '"' + closers, strict=False)
    raise ValueError("the string is no value that can end here")


def clean(value: Any, room: int = MAX_DEPTH) -> Any:
    """The same value as JSON can hold it: no lone surrogates, no NaN, no sets or tuples, integers of 64 bits. What lies
    deeper than `room` levels becomes its own JSON text: readers go down to it and no further."""
    if room == 0 and isinstance(value, dict | list):
        return clean(_written(value))
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        below = room - 1
        return {clean(key if isinstance(key, str) else str(key)): clean(item, below) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(item, room - 1) for item in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    return str(value)


def _written(value: Any) -> str:
    """The JSON text of lists and maps of any depth."""
    out: list[str] = []
    waiting: list[tuple[Any, bool]] = [(value, False)]  # (value, is it text already)
    while waiting:
        one, is_text = waiting.pop()
        if is_text:
            out.append(one)
            continue
        if not isinstance(one, dict | list):
            out.append(json.dumps(one))
            continue
        pairs = one.items() if isinstance(one, dict) else [("", item) for item in one]
        pieces: list[tuple[Any, bool]] = [("{" if isinstance(one, dict) else "[", True)]
        for number, (key, item) in enumerate(pairs):
            name = f"{json.dumps(str(key))}:" if isinstance(one, dict) else ""
            pieces += [(f"{',' if number else ''}{name}", True), (item, False)]
        pieces.append(("}" if isinstance(one, dict) else "]", True))
        waiting += reversed(pieces)
    return "".join(out)
