"""The same text without its disguises, and where each character of it came from.

A view is a text derived from another: look-alike characters folded, escapes and base64 decoded, line breaks taken out.
Rules run on every view; `View.origin` maps a hit back to the range of the first text that it stands for (a decoded
base64 run is all or nothing).
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from urllib.parse import unquote_to_bytes

_MAX_DEPTH = 3  # base64 of a percent-encoded text in a JSON string is two
_MAX_INFLATED = 1 << 20

# Looks for any disguise in one pass over all texts (RE2). Weak on purpose: what it finds is looked at closely.
_ZERO_WIDTH = (
    r"\x{AD}\x{180E}\x{200B}-\x{200F}\x{202A}-\x{202E}\x{2060}-\x{2064}\x{2066}-\x{2069}\x{FE00}-\x{FE0F}\x{FEFF}"
)
_SPACES = r"\x{A0}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}"
_DASHES = r"\x{2010}-\x{2015}\x{2043}\x{2212}\x{FE58}\x{FE63}\x{FF0D}"
_LOOK_ALIKES = "".join(f"\\x{{{ord(c):X}}}" for c in "аеорсухіјѕһԁԛԝАВЕКМНОРСТХУЅІЈΑΒΕΖΗΙΚΜΝΟΡΤΥΧονραι")
_BASE64_GROUP = r"[I-Za-f][C-HS-Xi-nyz0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9+/_\-]"  # three ASCII characters
DISGUISES = (
    r"\x{1F}|[\x{FF10}-\x{FF19}\x{FF20}-\x{FF3A}\x{FF41}-\x{FF5A}\x{1D400}-\x{1D7FF}\x{2460}-\x{24E9}]"
    rf"|[0-9A-Za-z@.\-_][{_ZERO_WIDTH}]|[{_ZERO_WIDTH}][0-9A-Za-z@.]"
    rf"|[0-9A-Za-z)][{_SPACES}{_DASHES}][0-9A-Za-z(]"
    rf"|[0-9A-Za-z@.\-][{_LOOK_ALIKES}]|[{_LOOK_ALIKES}][0-9A-Za-z@.\-]"
    r"|[\x{660}-\x{669}\x{6F0}-\x{6F9}\x{966}-\x{96F}]{3}"
    r"|\\u00[2-7]|\\x[2-7]|%(?:2[1-9A-Fa-f]|[3-7][0-9A-Fa-f])|&#(?:\d{2,4}|[xX][0-9A-Fa-f]{2,4});"
    rf"|(?:{_BASE64_GROUP}){{3}}|H4sI[A-Za-z0-9+/_\-]{{16}}"
)

_ESCAPES = re.compile(
    r"\\u(?P<u>00[0-9a-fA-F]{2}|(?!d[89a-f])(?!D[89A-F])[0-9a-fA-F]{4})|\\x(?P<x>[0-9a-fA-F]{2})|\\(?P<c>[nrt/])"
    r"|(?P<percent>(?:%[0-9A-Fa-f]{2})+)|&#(?P<dec>\d{2,4});|&#[xX](?P<hex>[0-9A-Fa-f]{2,4});"
    rf"|(?P<base64>(?:(?:{_BASE64_GROUP}){{3}}|H4sI[A-Za-z0-9+/_\-]{{16}})[A-Za-z0-9+/_\-]*={{0,2}})"
)
_CONTROL = {"n": "\n", "r": "\r", "t": "\t", "/": "/"}
_IMAGE = re.compile(r"data:(?:image|audio|video|font)/[\w.+\-]{1,40}(?:;[\w=\-]{1,40}){0,3};base64,\Z")
CHUNK_BREAK = "\x1f"  # stands between pieces of one text that arrived apart (stream deltas)
_BREAKS = re.compile(rf"\r?\n|{CHUNK_BREAK}")
_MAY_BE_ESCAPED = re.compile(r"[\\%]|&#|[A-Za-z0-9+/_\-]{12}")


@dataclass(frozen=True, slots=True)
class View:
    """A text, and the edits that made it from its parent: (start, end) here stands for (start, end) there."""

    text: str
    parent: View | None = None
    edits: tuple[tuple[int, int, int, int], ...] = ()
    joined: bool = False  # line breaks were taken out

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The range of the first text that this range of the view stands for."""
        if self.parent is None:
            return start, end
        first, last = self._edit(start), self._edit(end - 1)
        from_ = start if first is None else first[2] if start < first[1] else start - first[1] + first[3]
        to = end if last is None else last[3] if end - 1 < last[1] else end - last[1] + last[3]
        return self.parent.origin(from_, to)

    def _edit(self, position: int) -> tuple[int, int, int, int] | None:
        at = bisect_right(self.edits, position, key=lambda edit: edit[0]) - 1
        return self.edits[at] if at >= 0 else None


def views_of(text: str) -> Iterator[View]:
    """The text itself, then each disguise taken off, then all of it with line breaks taken out."""
    view = View(text)
    yield view
    plain = view
    if not text.isascii():
        pattern, table = _folding()
        plain = _edited(plain, pattern, lambda match: table[match[0]]) or plain
        if plain is not view:
            yield plain
    yield from _without_breaks(plain)  # before decoding too: a key may hold what looks like base64
    for depth in range(_MAX_DEPTH):
        decoded = _edited(plain, _ESCAPES, _decode) if _MAY_BE_ESCAPED.search(plain.text) else None
        if decoded is None:
            if depth:
                yield from _without_breaks(plain)
            return
        plain = decoded
        yield plain


def _without_breaks(view: View) -> Iterator[View]:
    joined = _edited(view, _BREAKS, lambda match: "")
    if joined is not None:
        yield View(joined.text, joined.parent, joined.edits, joined=True)


def _edited(parent: View, pattern: re.Pattern[str], replace: Callable[[re.Match[str]], str | None]) -> View | None:
    """The parent with each match replaced (None leaves it); None if there was nothing to replace."""
    pieces, edits, done, length = [], [], 0, 0
    for match in pattern.finditer(parent.text):
        new = replace(match)
        if new is None:
            continue
        start, end = match.span()
        pieces += (parent.text[done:start], new)
        length += start - done
        edits.append((length, length + len(new), start, end))
        length += len(new)
        done = end
    if not edits:
        return None
    pieces.append(parent.text[done:])
    return View("".join(pieces), parent, tuple(edits))


def _decode(match: re.Match[str]) -> str | None:
    kind, found = match.lastgroup, match[match.lastgroup or 0]
    if kind in ("u", "x", "hex"):
        return chr(int(found, 16))
    if kind == "dec":
        return chr(int(found))
    if kind == "c":
        return _CONTROL[found]
    if kind == "percent":
        return unquote_to_bytes(found).decode("utf-8", "replace")
    return None if _IMAGE.search(match.string, max(0, match.start() - 160), match.start()) else _from_base64(found)


def _from_base64(run: str) -> str | None:
    body = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(body[: len(body) - (len(body) % 4 == 1)] + "=" * (-len(body) % 4), validate=True)
        if raw.startswith(b"\x1f\x8b"):
            raw = zlib.decompressobj(wbits=31).decompress(raw, _MAX_INFLATED)
    except (binascii.Error, zlib.error):
        return None
    return raw.decode("utf-8", "replace")


@cache
def _folding() -> tuple[re.Pattern[str], dict[str, str]]:
    """What folds to ASCII: compatibility forms, digits of other scripts, odd spaces and dashes, letters that look alike."""
    table = {chr(c): "" for c in _code_points(_ZERO_WIDTH)}
    table |= {chr(c): " " for c in _code_points(_SPACES)} | {chr(c): "-" for c in _code_points(_DASHES)}
    for code in (*range(0xA0, 0xD800), *range(0xF900, 0x10000), *range(0x1D400, 0x1D800), *range(0x1F100, 0x1F1AA)):
        char = chr(code)
        if char in table:
            continue
        folded = unicodedata.normalize("NFKC", char)
        if folded != char and folded.isascii() and folded.isprintable():
            table[char] = folded
        elif unicodedata.category(char) == "Nd":
            table[char] = str(unicodedata.digit(char))
    latin = "aeopcyxijshdqwABEKMHOPCTXYSIJABEZHIKMNOPTYXovpai"
    table |= dict(zip("аеорсухіјѕһԁԛԝАВЕКМНОРСТХУЅІЈΑΒΕΖΗΙΚΜΝΟΡΤΥΧονραι", latin, strict=True))
    return re.compile("[" + "".join(map(re.escape, table)) + "]"), table


def _code_points(ranges: str) -> Iterator[int]:
    for first, last in re.findall(r"\\x\{([0-9A-F]+)\}(?:-\\x\{([0-9A-F]+)\})?", ranges):
        yield from range(int(first, 16), int(last or first, 16) + 1)
