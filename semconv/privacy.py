"""What may stand in clear columns, and what only in the encrypted store: judged by key, kind and size.

Content that a dialect understands never comes here. This is for what is left: keys that no table knows are clear
while their values are short and their names do not speak of content; redaction runs over what is clear.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from spanfold.semconv.anyvalue import jsonable
from spanfold.semconv.records import json_text

CLEAR_CHARS = 256  # a longer text may hold anything
CLEAR_JSON = 1024  # so may a list or map whose JSON is longer
_READABLE = 6  # bytes that read as text of at least this length; shorter than any e-mail address or card number

_PRIVATE = re.compile(
    r"exception\.(message|stacktrace)|error\.(message|stack|stack_?trace)|code\.stacktrace|db\.statement|db\.query\.(text|parameter\..*)"
    r"|http\.(request|response)\.(body|header)(\..*)?|url\.query"
)
_CLEAR = frozenset(("db.query.summary",))
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def _words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SPEAKS = _words_of(  # anywhere in a key: the value is content, unless the key ends in a word of _ABOUT
    "prompt prompts completion completions message messages content contents input inputs output outputs instruction "
    "instructions transcript command commands chunk chunks embedding embeddings"
)
_COUNTED = _words_of("token tokens usage cost")  # anywhere: the value is a number, whatever it counts
_SAID = _words_of(  # at the end of a key
    "msg argument arguments args kwargs parameters result results request response responses answer answers question "
    "questions query text texts document documents body conversation history ctx thinking thought thoughts reasoning "
    "choices payload template caption summary utterance blocks description explanation error errors err str stacktrace "
    "stack traceback values vector tools definitions schema events params"
)
_ABOUT = _words_of(
    "id ids name names model models type types kind role roles count tokens length size bytes chars version format "
    "formats reason reasons status code index hash tier language time timestamp ms seconds fingerprint event method "
    "level sequence class source target channel mode provider encoding"
)


def is_private(key: str) -> bool:
    """Is whatever stands under this key private?"""
    return _PRIVATE.fullmatch(key) is not None


@lru_cache(maxsize=65536)
def content_like(key: str) -> bool:
    """Does this key's name say that its texts, lists and maps are what somebody said?"""
    words = [word.lower() for word in _WORDS.findall(key)]
    if not words or key in _CLEAR or words[-1] in _ABOUT or not _COUNTED.isdisjoint(words):
        return False
    return words[-1] in _SAID or not _SPEAKS.isdisjoint(words)


def too_much(value: Any) -> bool:
    """Is this list, map or byte string too large, or too readable where redaction cannot read it, to be clear?"""
    if isinstance(value, bytes):
        return len(value) > CLEAR_CHARS or _readable(value)
    return _has_long_text(value) or len(json_text(jsonable(value))) > CLEAR_JSON


def _has_long_text(value: Any) -> bool:
    if isinstance(value, list):
        return any(_has_long_text(item) for item in value)
    if isinstance(value, dict):
        return any(_has_long_text(item) or (content_like(key) and _spoken(item)) for key, item in value.items())
    return len(value) > CLEAR_CHARS if isinstance(value, str) else isinstance(value, bytes) and too_much(value)


def _spoken(value: Any) -> bool:
    return isinstance(value, str | list | dict | bytes)


def _readable(raw: bytes) -> bool:
    try:
        return len(raw) >= _READABLE and raw.decode().isprintable()
    except UnicodeDecodeError:
        return False


def must_hide(key: str, value: Any) -> bool:
    """The whole rule for one decoded value, for attributes that are read one at a time (events, points)."""
    if is_private(key) or (content_like(key) and _spoken(value)):
        return True
    return (
        too_much(value)
        if isinstance(value, list | dict | bytes)
        else isinstance(value, str) and len(value) > CLEAR_CHARS
    )
