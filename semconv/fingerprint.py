"""The prompt fingerprint: which template a call was made from, when nobody said.

A keyed hash of the system text and the first user text with everything masked that varies from call to call:
numbers, ids, dates, addresses, quoted runs, and what stands in the variable places of a template. A stated prompt
name and version wins, because then nothing has to be guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from spanfold.semconv import messages
from spanfold.semconv.records import SpanContent

_HEAD = 8000  # characters of each text that are looked at
_OPENING_BYTES = 2048  # of a history, that mostly hold the first message of the user
_DAYS = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_MONTHS = (
    r"(?:january|february|march|april|may|june|july|august|september|october|november|december"
    r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)"
)
_NAME = r"[^\W\d_a-zß-öø-ÿ](?:[^\WA-ZÀ-ÖØ-Þ\d_]|['’])[\w'’-]*"  # a capital, then small: inside a sentence a name
_NAMES = rf"{_NAME}(?:(?: (?:van|von|de|da|di|del|der|la|le|of|the|bin|al))* {_NAME})"  # take * or + after it
_QUOTED = r'"[^"\n]{0,400}"|“[^”\n]{0,400}”|«[^»\n]{0,400}»|(?<!\w)\'[^\'\n]{1,400}\'(?!\w)|`[^`\n]{0,400}`'
_MASKS = [
    (re.compile(pattern, flags), mark)
    for pattern, flags, mark in (
        (r"```.*?(?:```|\Z)", re.S, "#"),
        (r"<([a-zA-Z][\w-]*)>.*?</\1>", re.S, r"<\1>"),
        (r"\{\s*\".*\}|\[\s*[\[{\"].*\]", re.S, "#"),  # JSON
        (_QUOTED, 0, "#"),
        (r"\b[\w.+-]{1,64}@[\w-]+\.[\w.]+\b|\b[a-z][a-z0-9+.-]*://\S+\b/?", re.I, "#"),  # addresses
        (r"(?<!\w)~?(?:/[\w.@-]+){2,}/?|\b[A-Za-z]:\\\S+", 0, "#"),  # paths
        (rf"\b{_DAYS}\b|\b{_MONTHS}\b(?=[ .,]*\d)", re.I, "#"),
        (r"[$€£]?\b[\w-]*\d(?:[\w:.,/-]*\w)?%?", 0, "#"),  # numbers, dates, ids
        (rf"(?<![.!?:\n] )(?<!^)(?<!\n)\b{_NAMES}*|\b{_NAMES}+", 0, "#"),
        (r"#(?:(?:[ ,&]| and | or )*#)+", 0, "#"),
    )
]


@lru_cache(maxsize=4096)
def masked(text: str) -> str:
    """A text with its variable runs masked, white space and case folded."""
    text = text[:_HEAD]
    for pattern, mark in _MASKS:
        text = pattern.sub(mark, text)
    return " ".join(_announced(text).split())


def _announced(text: str) -> str:
    """The text without the paragraphs that a line ending in a colon announces: what is pasted into a template."""
    kept: list[str] = []
    pasted = False
    for line in text.split("\n"):
        if line.rstrip().endswith(":"):
            kept.append(line)
            pasted = True
        elif not pasted:
            kept.append(line)
    return "\n".join(kept)


def fingerprint(system: str, user: str, key: bytes = b"") -> str:
    """`p_` and 16 hex digits."""
    shape = masked(system) + "\x00" + masked(user)
    return "p_" + blake2b(shape.encode("utf-8", "replace"), digest_size=8, key=key[:64]).hexdigest()


def stated(name: str, version: str | None, key: bytes = b"") -> str:
    """The fingerprint of a prompt that the sender names."""
    shape = f"\x01{name}\x00{version or ''}"
    return "p_" + blake2b(shape.encode("utf-8", "replace"), digest_size=8, key=key[:64]).hexdigest()


def column(
    length: int, contents: Sequence[SpanContent], fields: Mapping[str, pa.Array], tenants: Mapping[int, str],
    hash_key: Callable[[str], bytes] | None,
) -> pa.Array:  # fmt: skip
    """The fingerprints of a batch; NULL where neither a prompt is named nor its words are there."""
    out: list[str | None] = [None] * length
    keys = {tenant: hash_key(tenant) if hash_key else b"" for tenant in set(tenants.values())}
    for content in contents:
        texts = opening_texts(content)
        if texts is not None:
            out[content.row] = fingerprint(*texts, keys[tenants[content.row]])
    names = fields["prompt_name"]
    if names.null_count < length:
        for row, (name, version) in enumerate(
            zip(names.to_pylist(), fields["prompt_version"].to_pylist(), strict=True)
        ):
            if name is not None:
                out[row] = stated(name, version)
    return pa.array(out, pa.string()) if any(out) else pa.nulls(length, pa.string())


def opening_texts(content: SpanContent) -> tuple[str, str] | None:
    """(system text, first user text) of a context; None where there is neither."""
    opening = content.input if content.input is not None else _opening(content.input_text or "")
    system = [messages.text_of(part) for part in content.system or ()]
    user = ""
    for message in opening:
        if message["role"] in ("system", "developer"):
            system.append(messages.text_of(message))
        elif message["role"] == "user" and (user := messages.text_of(message)):
            break
    return ("\n".join(system), user) if user or any(system) else None


_DECODER = json.JSONDecoder(strict=False)


def _opening(text: str | memoryview) -> list[dict[str, Any]]:
    """The messages of a JSON list up to the first of the user: the long rest is not parsed, and if it can be not even
    copied."""
    if isinstance(text, memoryview):
        return _in_head(bytes(text[:_OPENING_BYTES])) or _until_user(str(text, "utf-8"))
    return _until_user(text)


@lru_cache(maxsize=1024)
def _in_head(head: bytes) -> list[dict[str, Any]] | None:
    """The opening, if this much of the text holds all of it. Every call of a conversation begins with the same."""
    found = _until_user(head.decode("utf-8", "ignore"))
    return found if found and _asks(found[-1]) else None


def _asks(message: dict[str, Any]) -> bool:
    return message["role"] == "user" and bool(messages.text_of(message))


def _until_user(text: str) -> list[dict[str, Any]]:
    found, at = [], 1
    while at < len(text):
        try:
            item, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        if (message := messages.repair_message(item)) is not None:
            found.append(message)
            if _asks(message):
                break
        while at < len(text) and text[at] in ", \n\r\t":
            at += 1
    return found
