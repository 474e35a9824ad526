"""Strings inside JSON: in parsed values, and in texts that are JSON themselves (tool arguments, attribute columns).

A JSON text is changed token by token: everything but the changed strings stays byte for byte, and it stays JSON.
A string is looked at together with the key it stands under where that key tells something ("password", "phone").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any

import orjson

from spanfold.exporter.normal_views import CHUNK_BREAK

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]|-?\d[0-9.eE+\-]*')
_KEY_FOLLOWS = re.compile(r"\s*:")
_TELLING_KEY = re.compile(
    r"pass|pwd|secret|token|key|auth|credential|phone|tel|mobile|fax|cell|card|ssn|social|tax|\bpan\b|contact|number",
    re.I,
)
_MARKER = re.compile(r"\[[A-Z]")  # what a redacted key says must not make its value look different the next time
_MAX_TELLING = 64
_MIN_DIGITS = 12  # a shorter number is looked at only under a telling key
_MIN_TOLD_DIGITS = 7
_PLAIN_WORDS = frozenset({  # of the message model: nothing to find in them, and they are in every message
    "role", "parts", "type", "content", "text", "id", "name", "arguments", "response", "result", "finish_reason",
    "user", "assistant", "tool", "system", "tool_call", "tool_call_response", "reasoning", "stop", "tool_calls",
    "length", "messages", "tools", "function", "attributes", "events", "error_message",
})  # fmt: skip
_MAX_PLAIN = max(map(len, _PLAIN_WORDS))


@dataclass(frozen=True, slots=True)
class Token:
    """A string or number of a JSON text at [start, end), what it says, and what to put before it while looking.

    `siblings`: of a key, all keys of its object as sent; None for values.
    """

    start: int
    end: int
    text: str
    context: str
    siblings: set[str] | None = None


def tokens(text: str) -> list[Token] | None:
    """The strings and long numbers of a JSON text; None if the text is not a JSON object, array or string."""
    if text.lstrip()[:1] not in ("{", "[", '"') or not _is_json(text):
        return None
    found: list[Token] = []
    objects: list[set[str]] = []
    context = ""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "{":
            objects.append(set())
        elif token == "}":
            objects.pop()
        elif token[0] != '"':
            if _is_long(token, context):
                found.append(Token(*match.span(), token, context))
        else:
            said = json.loads(token) if "\\" in token else token[1:-1]
            if _KEY_FOLLOWS.match(text, match.end()):
                objects[-1].add(said)
                found.append(Token(*match.span(), said, "", objects[-1]))
                context = key_context(said)
            else:
                found.append(Token(*match.span(), said, context))
    return found


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        if "NaN" not in text and "Infinity" not in text:  # which Python writes, and many readers take
            return False
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return False
    return True


def splice(text: str, changes: list[tuple[Token, str]]) -> str:
    """The JSON text with these tokens, in order, saying something else; a changed number becomes a string."""
    pieces: list[str] = []
    done = 0
    for token, new in changes:
        if token.siblings is not None:
            new = next(name for name in _numbered(new) if name not in token.siblings)
            token.siblings.add(new)
        pieces += (text[done : token.start], json.dumps(new, ensure_ascii=False))
        done = token.end
    return "".join((*pieces, text[done:]))


@lru_cache(4096)
def key_context(key: str) -> str:
    """What to put before the values of this key while looking at them."""
    telling = len(key) <= _MAX_TELLING and _TELLING_KEY.search(key) and not _MARKER.search(key)
    return f"{key}: " if telling else ""


def gather(node: Any, context: str, texts: list[str], contexts: list[str]) -> None:
    """Appends the strings of a JSON-like value, keys included, in the order that `put_back` counts them.

    Text parts that follow each other count as one text, for a stream may deliver a value in pieces.
    """
    kind = type(node)
    if kind is str:
        if not _is_plain(node):
            texts.append(node)
            contexts.append(context)
    elif kind is dict:
        _gather_dict(node, None, texts, contexts)
    elif kind in (list, tuple):
        for item, run in _with_runs(node):
            if run is None:
                gather(item, context, texts, contexts)
                continue
            _gather_dict(item, run[-1][1], texts, contexts)
            if run[-1][2]:
                texts.append(CHUNK_BREAK.join(part[key] for part, key, _ in run))
                contexts.append("")
    elif kind is int and _is_long(str(node), context):
        texts.append(str(node))
        contexts.append(context)


def put_back(obj: Any, changed: dict[int, str]) -> Any:
    """The value with the strings at these positions of `gather` replaced; the same object if there are none."""
    return _Rebuild(changed).of(obj, "") if changed else obj


def _gather_dict(node: dict[Any, Any], skipped: str | None, texts: list[str], contexts: list[str]) -> None:
    for key, item in node.items():
        named = type(key) is str
        if named and not _is_plain(key):
            texts.append(key)
            contexts.append("")
        if skipped is None or key != skipped:
            gather(item, key_context(key) if named else "", texts, contexts)


class _Rebuild:
    """Walks as `gather` does, counting the same strings."""

    def __init__(self, changed: dict[int, str]) -> None:
        self._changed, self._at = changed, -1

    def of(self, node: Any, context: str) -> Any:
        kind = type(node)
        if kind is str:
            return self._string(node)
        if kind is dict:
            return self._dict(node, None)
        if kind in (list, tuple):
            return kind(self._items(node, context))
        if kind is int and _is_long(str(node), context):
            return self._next(node)
        return node

    def _items(self, node: Sequence[Any], context: str) -> list[Any]:
        items: list[Any] = []
        for item, run in _with_runs(node):
            items.append(self.of(item, context) if run is None else self._dict(item, run[-1][1]))
            if run is not None and run[-1][2] and (joined := self._next(None)) is not None:
                for at, piece in enumerate(joined.split(CHUNK_BREAK), -len(run)):
                    items[at] = items[at] | {run[at][1]: piece}
        return items

    def _dict(self, node: dict[Any, Any], skipped: str | None) -> dict[Any, Any]:
        rebuilt: dict[Any, Any] = {}
        for key, item in node.items():
            named = type(key) is str
            name = self._string(key) if named else key
            if name != key:
                name = next(n for n in _numbered(name) if n not in rebuilt and n not in node)
            kept = skipped is not None and key == skipped
            rebuilt[name] = item if kept else self.of(item, key_context(key) if named else "")
        return rebuilt

    def _string(self, text: str) -> str:
        return text if _is_plain(text) else self._next(text)

    def _next(self, otherwise: Any) -> Any:
        self._at += 1
        return self._changed.get(self._at, otherwise)


_Run = list[tuple[dict[str, Any], str, bool]]  # text parts so far, the key of their words, whether it is the last one


def _with_runs(node: Sequence[Any]) -> Iterator[tuple[Any, _Run | None]]:
    """The items of a list, each with the run of neighbouring text parts that ends with it, if it is in one."""
    if len(node) < 2:
        yield from ((item, None) for item in node)
        return
    run: _Run = []
    keys = [_text_key(item) for item in node]
    for i, item in enumerate(node):
        key, following = keys[i], keys[i + 1] if i + 1 < len(node) else None
        if key is None or (not run and following is None):
            yield item, None
            continue
        run.append((item, key, following is None))
        yield item, run
        if following is None:
            run = []


def _text_key(item: Any) -> str | None:
    """The key of a text part under which its words stand; JSON texts are never pieces."""
    if type(item) is not dict or item.get("type") != "text":
        return None
    for key in ("content", "text"):
        text = item.get(key)
        if type(text) is str:
            whole = text.lstrip()[:1] in ("{", "[") and _is_json(text)
            return None if CHUNK_BREAK in text or whole else key
    return None


def _is_plain(text: str) -> bool:
    return len(text) <= _MAX_PLAIN and text in _PLAIN_WORDS


def _is_long(number: str, context: str) -> bool:
    return len(number) >= (_MIN_TOLD_DIGITS if context else _MIN_DIGITS) and number.lstrip("-").isdigit()


def _numbered(name: str) -> Iterator[str]:
    """The name, then `name #2`, ...: two keys that became one marker must not become one key."""
    yield name
    for number in count(2):
        yield f"{name} #{number}"
