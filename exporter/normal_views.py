"""The same text without its disguises, and where each character of it came from.

A view is a text derived from another: look-alike characters folded, escapes and base64 decoded, line breaks taken out.
Rules run on every view; `View.origin` maps a hit back to the range of the first text that it stands for (a decoded
base64 run is all or nothing).
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
import unicodedata
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any
from urllib.parse import unquote_to_bytes

import re2

_MAX_DEPTH = 4  # base64 of a percent-encoded text in a JSON string is three
_MAX_INFLATED = 1 << 20
CHUNK_BREAK = "\x1f"  # stands between pieces of one text that arrived apart (stream deltas)

_ZERO_WIDTH = (
    r"\x{AD}\x{34F}\x{115F}\x{1160}\x{180E}\x{200B}-\x{200F}\x{202A}-\x{202E}\x{2060}-\x{2064}\x{2066}-\x{2069}"
    r"\x{3164}\x{FE00}-\x{FE0F}\x{FEFF}\x{FFA0}\x{E0001}-\x{E007F}"
)
_SPACES = r"\x{A0}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}"
_DASHES = r"\x{2010}-\x{2015}\x{2043}\x{2212}\x{FE58}\x{FE63}\x{FF0D}"
_LOOK_ALIKES = "аеорсухіјѕһԁԛԝАВЕКМНОРСТХУЅІЈΑΒΕΖΗΙΚΜΝΟΡΤΥΧονραι"
_MEANT = "aeopcyxijshdqwABEKMHOPCTXYSIJABEZHIKMNOPTYXovpai"
_BASE64_GROUP = r"[I-Za-f][C-HS-Xi-nyz0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9+/_\-]"  # three ASCII characters
_BASE64_TAIL = r"[I-Za-f][C-HS-Xi-nyz0-3][A-Za-z0-9+/_\-]?="
_BASE64 = rf"(?:(?:{_BASE64_GROUP}){{3}}(?:{_BASE64_GROUP}|{_BASE64_TAIL})|H4sI[A-Za-z0-9+/_\-]{{16}})"

# Looks for any disguise in one pass over all texts (RE2). Weak on purpose: what it finds is looked at closely.
DISGUISES = (
    r"\x{1F}|[\x{FF10}-\x{FF19}\x{FF20}-\x{FF3A}\x{FF41}-\x{FF5A}\x{1D400}-\x{1D7FF}\x{2460}-\x{24E9}]"
    rf"|[0-9A-Za-z@.\-_][{_ZERO_WIDTH}]|[{_ZERO_WIDTH}][0-9A-Za-z@.]"
    rf"|[0-9A-Za-z)][{_SPACES}{_DASHES}][0-9A-Za-z(]"
    rf"|[0-9A-Za-z@.\-][{_LOOK_ALIKES}]|[{_LOOK_ALIKES}][0-9A-Za-z@.\-]"
    r"|[\x{660}-\x{669}\x{6F0}-\x{6F9}\x{966}-\x{96F}\x{9E6}-\x{9EF}\x{E50}-\x{E59}\x{B2}\x{B3}\x{B9}\x{2070}-\x{2079}\x{2080}-\x{2089}]{3}"
    r"|\\u(?:00[2-7]|00[aA][0dD]|20(?:0|1[012]|2[fF]|60)|[fF][eE][fF][fF]|[fF][fF](?:1[0-9]|2|3[0-9aA]|4|5[0-9aA])|[dD]835)"
    r"|\\x[2-7]|%[2-7][0-9A-Fa-f]|&#(?:\d{2,4}|[xX][0-9A-Fa-f]{2,4});"
    rf"|\x{{1B}}\[|\\(?:u00|x)1[bB]\[|{_BASE64}"
)
ESCAPED_BREAKS = r"\\[nrt/]"  # too common to be a reason to look closely, but read when one does

_ESCAPES = re2.compile(
    r"\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\[nrt/]|(?:%[0-9A-Fa-f]{2})+|&#\d{2,4};|&#[xX][0-9A-Fa-f]{2,4};"
)
_BASE64_RUNS = re2.compile(rf"{_BASE64}[A-Za-z0-9+/_\-]*={{0,2}}")
_COMPATIBLE = ((0xA0, 0x3400), (0xA000, 0xAC00), (0xF900, 0x10000), (0x1D400, 0x1D800), (0x1F100, 0x1F1AA))
_CONTROL = {"n": "\n", "r": "\r", "t": "\t", "/": "/"}
_IMAGE = re.compile(r"data:(?:image|audio|video|font)/[\w.+\-]{1,40}(?:;[\w=\-]{1,40}){0,3};base64,\Z")
_COLOURS = re2.compile(r"(?:\x{1B}|\\(?:u00|x)1[bB])\[[0-9;]{0,16}[A-Za-z]")  # of a terminal (ECMA-48)
_BREAKS, _CHUNK_BREAKS = re.compile(r"\r?\n"), re2.compile(CHUNK_BREAK)

Edit = tuple[int, int, int, int]  # [start, end) of a view stands for [start, end) of its parent


class View:
    """A text, and the edits that made it from its parent. `joined`: line breaks were taken out."""

    __slots__ = ("_edits", "joined", "parent", "text")

    def __init__(
        self, text: str, parent: View | None = None, edits: list[Edit] | None = None, *, joined: bool = False
    ) -> None:
        self.text, self.parent, self._edits, self.joined = text, parent, edits, joined

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The range of the first text that this range of the view stands for."""
        if self.parent is None:
            return start, end
        if self._edits is None:  # of a joined view: needed for the few that have a hit
            taken_out = _without(_BREAKS, self.parent)
            self._edits = taken_out._edits if taken_out else []
        first, last = self._edit(start), self._edit(end - 1)
        from_ = start if first is None else first[2] if start < first[1] else start - first[1] + first[3]
        to = end if last is None else last[3] if end - 1 < last[1] else end - last[1] + last[3]
        return self.parent.origin(from_, to)

    def _edit(self, position: int) -> Edit | None:
        edits = self._edits or []
        at = bisect_right(edits, position, key=lambda edit: edit[0]) - 1
        return edits[at] if at >= 0 else None


def views_of(text: str, *, disguised: bool = True) -> Iterator[View]:
    """The text itself, whole where it came in pieces, then each disguise taken off, then all of it with line breaks
    taken out.

    `disguised`: whether DISGUISES or ESCAPED_BREAKS was seen in the text; if not, only line breaks are taken out.
    """
    plain = View(text)
    yield plain
    for taken_out in (_CHUNK_BREAKS, _COLOURS) if disguised else ():
        whole = _without(taken_out, plain)
        if whole is not None:
            plain = whole
            yield plain
    text = plain.text
    if disguised and not text.isascii():
        pattern, table = _folding()
        folded = _edited(plain, (m.span() for m in pattern.finditer(text)), lambda start, end: table[text[start]])
        if folded is not None:
            plain = folded
            yield plain
    yield from _without_breaks(plain)  # before decoding too: a key may hold what looks like base64
    encoded = plain
    for _ in range(_MAX_DEPTH if disguised else 0):
        decoded = _decoded(plain)
        if decoded is None:
            break
        plain = decoded
        yield plain
    if plain is not encoded:
        yield from _without_breaks(plain)


def _without_breaks(view: View) -> Iterator[View]:
    joined = view.text.replace("\r\n", "").replace("\n", "")
    if len(joined) != len(view.text):
        yield View(joined, view, joined=True)


def _without(pattern: Any, view: View) -> View | None:
    """The view without what matches; None if nothing does."""
    return _edited(view, (m.span() for m in pattern.finditer(view.text)), lambda *_: "")


def _decoded(view: View) -> View | None:
    """Escapes read, else base64: a token right behind an escape is not yet the base64 that it looks like."""
    text = view.text
    for pattern in (_ESCAPES, _BASE64_RUNS):
        spans = (m.span() for m in pattern.finditer(text))
        decoded = _edited(view, spans, lambda start, end: _decode(text, start, end))
        if decoded is not None:
            return decoded
    return None


def _edited(view: View, spans: Iterable[tuple[int, int]], new: Callable[[int, int], str | None]) -> View | None:
    """The view with each span replaced (None leaves it); None if there was nothing to replace."""
    replaced = ((start, end, said) for start, end in spans if (said := new(start, end)) is not None)
    pieces: list[str] = []
    edits: list[Edit] = []
    done = length = 0
    for start, end, said in replaced:
        pieces += (view.text[done:start], said)
        length += start - done
        edits.append((length, length + len(said), start, end))
        length += len(said)
        done = end
    return View("".join((*pieces, view.text[done:])), view, edits) if edits else None


def _decode(text: str, start: int, end: int) -> str | None:
    """What an escape or a base64 run says; None if it says nothing."""
    run = text[start:end]
    if run[0] == "%":
        return unquote_to_bytes(run).decode("utf-8", "replace")
    if run[0] == "\\":
        code = int(run[2:], 16) if run[1] in "ux" and len(run) > 2 else None
        return _CONTROL[run[1]] if code is None else _character(code)
    if run[0] == "&":
        return _character(int(run[3:-1], 16) if run[2] in "xX" else int(run[2:-1]))
    return None if _IMAGE.search(text, max(0, start - 160), start) else _from_base64(run)


def _character(code: int) -> str | None:
    return None if 0xD800 <= code < 0xE000 else chr(code)


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
    """What folds to ASCII: compatibility forms, other digits, odd spaces and dashes, letters that look alike."""
    table = {chr(c): "" for c in _code_points(_ZERO_WIDTH)}
    table |= {chr(c): " " for c in _code_points(_SPACES)} | {chr(c): "-" for c in _code_points(_DASHES)}
    for code in itertools.chain(*itertools.starmap(range, _COMPATIBLE)):
        char = chr(code)
        if char in table:
            continue
        folded = unicodedata.normalize("NFKC", char)
        if folded != char and folded.isascii() and folded.isprintable():
            table[char] = folded
        elif unicodedata.category(char) == "Nd":
            table[char] = str(unicodedata.digit(char))
    table |= dict(zip(_LOOK_ALIKES, _MEANT, strict=True))
    return re.compile("[" + "".join(map(re.escape, table)) + "]"), table


def _code_points(ranges: str) -> Iterator[int]:
    for first, last in re.findall(r"\\x\{([0-9A-F]+)\}(?:-\\x\{([0-9A-F]+)\})?", ranges):
        yield from range(int(first, 16), int(last or first, 16) + 1)
