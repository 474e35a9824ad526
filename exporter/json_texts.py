"""Strings inside JSON: in parsed values, and in texts that are JSON themselves (tool arguments, attribute columns).

A JSON text is changed token by token: everything but the changed strings stays byte for byte, and it stays JSON.
A string is looked at together with the key it stands under where that key tells something ("password", "phone").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any

import orjson

from spanfold.exporter.normal_views import CHUNK_BREAK

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[0-9.eE+\-]*')
_KEY_FOLLOWS = re.compile(r"\s*:")
_TELLING_KEY = re.compile(
    r"pass|pwd|secret|token|key|auth|credential|phone|tel|mobile|fax|cell|card|ssn|social|tax|\bpan\b|contact|number",
    re.I,
)
_MIN_DIGITS = 12  # a shorter number is looked at only under a telling key
_MIN_TOLD_DIGITS = 7


@dataclass(frozen=True, slots=True)
class Token:
    """A string or number of a JSON text at [start, end), and what it says."""

    start: int
    end: int
    text: str
    context: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """A string of a parsed value, with what to put before it while looking."""

    text: str
    context: str


def tokens(text: str) -> list[Token] | None:
    """The strings and long numbers of a JSON text; None if the text is not a JSON object, array or string."""
    if text.lstrip()[:1] not in ("{", "[", '"'):
        return None
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    found, context = [], ""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token[0] == '"':
            said = json.loads(token) if "\\" in token else token[1:-1]
            if _KEY_FOLLOWS.match(text, match.end()):
                found.append(Token(*match.span(), said, ""))
                context = key_context(said)
            else:
                found.append(Token(*match.span(), said, context))
        elif _is_long(token, context):
            found.append(Token(*match.span(), token, context))
    return found


def splice(text: str, changes: list[tuple[Token, str]]) -> str:
    """The JSON text with these tokens, in order, saying something else; a changed number becomes a string."""
    pieces, done = [], 0
    for token, new in changes:
        pieces += (text[done : token.start], json.dumps(new, ensure_ascii=False))
        done = token.end
    return "".join((*pieces, text[done:]))


def gather(obj: Any) -> list[Gathered]:
    """The strings of a JSON-like value in a fixed order, keys included. Text parts that follow each other count as one
    text, for a stream may deliver a value in pieces."""
    found: list[Gathered] = []
    _walk(obj, "", found)
    return found


def put_back(obj: Any, changed: dict[int, str]) -> Any:
    """The value with the strings at these positions of `gather` replaced; the same object if there are none."""
    return _Rebuild(changed).of(obj, "") if changed else obj


@lru_cache(4096)
def key_context(key: str) -> str:
    """What to put before the values of this key while looking at them."""
    return f"{key}: " if len(key) <= 64 and _TELLING_KEY.search(key) else ""


def _is_long(number: str, context: str) -> bool:
    return len(number) >= (_MIN_TOLD_DIGITS if context else _MIN_DIGITS) and number.lstrip("-").isdigit()


def _walk(node: Any, context: str, found: list[Gathered]) -> None:
    kind = type(node)
    if kind is str:
        found.append(Gathered(node, context))
    elif kind is dict:
        _walk_dict(node, None, found)
    elif kind in (list, tuple):
        pieces: list[str] = []
        for item, following in zip(node, (*node[1:], None), strict=True):
            key = _text_key(item)
            if key is None or (not pieces and _text_key(following) is None):
                _walk(item, context, found)
                continue
            pieces.append(item[key])
            _walk_dict(item, key, found)
            if _text_key(following) is None:
                found.append(Gathered(CHUNK_BREAK.join(pieces), ""))
                pieces = []
    elif kind is int and _is_long(str(node), context):
        found.append(Gathered(str(node), context))


def _walk_dict(node: dict[Any, Any], skipped: str | None, found: list[Gathered]) -> None:
    for key, item in node.items():
        if type(key) is str:
            found.append(Gathered(key, ""))
        if key is not skipped or skipped is None:
            _walk(item, key_context(key) if type(key) is str else "", found)


def _text_key(item: Any) -> str | None:
    """The key of a text part under which its words stand; JSON texts are never pieces."""
    if type(item) is not dict or item.get("type") != "text":
        return None
    for key in ("content", "text"):
        text = item.get(key)
        if type(text) is str:
            return None if CHUNK_BREAK in text or text.lstrip()[:1] in ("{", "[") else key
    return None


class _Rebuild:
    """Walks as `_walk` does, counting the same strings."""

    def __init__(self, changed: dict[int, str]) -> None:
        self._changed, self._at = changed, -1

    def of(self, node: Any, context: str) -> Any:
        kind = type(node)
        if kind is str:
            return self._next(node)
        if kind is dict:
            return self._dict(node, None)
        if kind in (list, tuple):
            return kind(self._items(node, context))
        if kind is int and _is_long(str(node), context):
            return self._changed.get(self._advance(), node)
        return node

    def _items(self, node: Any, context: str) -> list[Any]:
        items: list[Any] = []
        keys: list[str] = []
        for item, following in zip(node, (*node[1:], None), strict=True):
            key = _text_key(item)
            if key is None or (not keys and _text_key(following) is None):
                items.append(self.of(item, context))
                continue
            keys.append(key)
            items.append(self._dict(item, key))
            if _text_key(following) is None:
                pieces = self._changed.get(self._advance())
                if pieces is not None:
                    for at, (name, piece) in enumerate(zip(keys, pieces.split(CHUNK_BREAK), strict=True), -len(keys)):
                        items[at] = items[at] | {name: piece}
                keys = []
        return items

    def _dict(self, node: dict[Any, Any], skipped: str | None) -> dict[Any, Any]:
        rebuilt: dict[Any, Any] = {}
        for key, item in node.items():
            name = self._next(key) if type(key) is str else key
            if name != key:
                name = next(n for n in _numbered(name) if n not in rebuilt and n not in node)
            kept = skipped is not None and key is skipped
            rebuilt[name] = item if kept else self.of(item, key_context(key) if type(key) is str else "")
        return rebuilt

    def _next(self, text: str) -> str:
        return self._changed.get(self._advance(), text)

    def _advance(self) -> int:
        self._at += 1
        return self._at


def _numbered(name: str) -> Iterator[str]:
    """The name, then `name #2`, ...: two keys that became one marker must not become one key."""
    yield name
    for number in count(2):
        yield f"{name} #{number}"
