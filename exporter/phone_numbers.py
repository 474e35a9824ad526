"""Telephone numbers in running text. Their shapes overlap with dates, ranges, ids and prices, so either the shape is
telling (a plus, North American groups, a trunk zero with groups) or a word beside it must say what it is."""

from __future__ import annotations

import re

# Shapes that tell by themselves: international, dialled abroad, North American, national with a trunk zero. `x12`
# behind them is an extension.
_SURE = re.compile(
    r"(?<![\w+])\+[1-9]\d{0,3}[ ./\-]?(?:\(0\))?[ ./\-]?(?:\(?\d{1,5}+\)?[ ./\-]{0,2}){1,6}(?<=\d)(?!(?!x\d)\w)"
    r"|(?<![\w.+\-])(?:00|011[ \-])[1-9]\d{0,2}[ \-.](?:\d{2,5}[ \-.]?){2,4}(?<=\d)(?!\w)"
    r"|(?<![\w.\-/+])(?:1[ .\-])?"
    r"(?:\([2-9]\d\d\) ?\d{3}[\-. ]|[2-9]\d\d-\d{3}-|[2-9]\d\d\.\d{3}\.|[2-9]\d\d [2-9]\d\d-)\d{4}"
    r"(?!(?!x\d)\w|[.\-]\d)"
    r"|(?<![\w.\-/+])\(\d{2,4}\)[ \-]?\d{3,4}[ \-]\d{3,4}(?!\w|[.\-]\d)"
    r"|(?<![\w.\-/+])(?<!\d )\(?0[1-9]\d{1,3}\)?(?:[ ]\d{2,4}){2,4}(?![\w]|[.\-,]\d)"
    r"|(?<![\w.\-/+])(?<!\d )0[1-9](?:(?: \d\d){4}|(?:\.\d\d){4})(?!\w|[ .\-,]?\d)",
    re.ASCII,
)
# Words that make even a bare run of digits a number to call, and words that do so only for grouped digits.
_STRONG_BEFORE = re.compile(
    r"(?:(?<!i)(?-i:Phone)|(?<![a-z])(?:(?:tele)?phone|t[eé]l(?:\b|_)|mobile|fax|sms(?![a-z]))|whatsapp|msisdn|hotline"
    r"|\b(?:call|reach|contact|ring) (?:me|us|him|her|them|you)\b|\bdial\b|\ba call (?:at|on)\b"
    r"|\b(?:my|your|his|her|our|contact|new|home|work|office) number|t[eé]l[eé]fono?|telefon|handynummer"
    r"|电话|手机|電話)(?:[^\W\d]| ){0,12}[^\w\d]{0,6}(?:(?:is|at|to|on|no|number)\W{1,3}){0,2}\Z",
    re.I,
)
_WEAK_BEFORE = re.compile(
    r"\b(?:call|reach|ring|dial|contact|text me|answering|cell|number|pager|(?:reached|available|message) (?:at|on))\b"
    r"(?!\s*\()[^\d\n]{0,24}\Z",
    re.I,
)
_STRONG_AFTER = re.compile(r"[ \-]{0,2}\(?(?:fax|mobile|phone|tel|telephone)\b", re.I)
_WEAK_AFTER = re.compile(
    r"[ \-]{0,2}\(?(?:office|home|work|cell|direct|is (?:my|your|his|her|our|the) \w{0,8} ?(?:number|phone))\b", re.I
)
_NAMED_OTHERWISE = re.compile(
    r"\b(?:range|lines?|pages?|rows?|isbn|sku|part|serial|order|ref|ticket|case)\W{1,3}\Z", re.I
)
_GOES_ON_BEFORE, _GOES_ON_AFTER = re.compile(r"[\w.\-]\Z|\d,\Z", re.A), re.compile(r"(?!x\d)\w|[.,]\d", re.A)
_DATE = re.compile(r"(?:19|20)\d\d[\-./ ]\d\d?[\-./ ]\d\d?|\d\d?[\-./ ]\d\d?[\-./ ](?:19|20)\d\d")
_BARE = re.compile(r"\d{7,15}\Z")
_GROUPED = re.compile(r"\(?\d{1,5}\)?(?:(?:(?<=\)) ?|[ \-./]{1,2})\(?\d{2,9}\)?){1,5}\Z")


def phone(value: str, before: str, after: str) -> list[tuple[int, int]]:
    """Ranges of a run of digits and separators that are telephone numbers (a detector, see detectors.py)."""
    digits = sum(map(value.count, "0123456789"))
    if digits != len(value):  # every sure shape has a sign or a gap
        around = before[-2:] + value + after[:2]  # so that the shapes see what stands beside the run
        shift = len(before[-2:])
        named = _NAMED_OTHERWISE.search(before)
        spans = [
            (m.start() - shift, m.end() - shift)
            for m in _SURE.finditer(around)
            if _plausible(m[0]) and (not named or m[0][0] == "+")
        ]
        if found := [(start, end) for start, end in spans if start >= 0 and end <= len(value)]:
            return found
    return [(0, len(value))] if 7 <= digits <= 15 and _said_to_be_one(value, before, after) else []


def _said_to_be_one(value: str, before: str, after: str) -> bool:
    if _GOES_ON_BEFORE.search(before) or _GOES_ON_AFTER.match(after) or _DATE.match(value):
        return False
    strong = _STRONG_BEFORE.search(before) or _STRONG_AFTER.match(after)
    if strong and (_BARE.match(value) or _GROUPED.match(value)):
        return True
    weak = _WEAK_BEFORE.search(before) or _WEAK_AFTER.match(after)
    return bool(weak and _GROUPED.match(value))


def _plausible(number: str) -> bool:
    least = 10 if number[1:].isdigit() else 8  # "+20261120" is more often a sum or a diff
    return least <= sum(c.isdigit() for c in number) <= 15
