"""Telephone numbers in running text. Their shapes overlap with dates, ranges, ids and prices, so either the shape is
telling (a plus, North American groups, a trunk zero with groups) or a word beside it must say what it is."""

from __future__ import annotations

import re

_INTERNATIONAL = re.compile(
    r"(?<![\w+])\+[1-9]\d{0,3}[ ./\-]?(?:\(0\))?[ ./\-]?(?:\(?\d{1,5}\)?[ ./\-]{0,2}){1,6}(?<=\d)(?!\w)"
)
_DIALED_ABROAD = re.compile(r"(?<![\w.+\-])(?:00|011[ \-])[1-9]\d{0,2}[ \-.](?:\d{2,5}[ \-.]?){2,4}(?<=\d)(?!\w)")
_NORTH_AMERICA = re.compile(
    r"(?<![\w.\-/+])(?:1[ .\-])?"
    r"(?:\([2-9]\d\d\) ?\d{3}[\-. ]|[2-9]\d\d-\d{3}-|[2-9]\d\d\.\d{3}\.|[2-9]\d\d [2-9]\d\d-)\d{4}(?!\w|[.\-]\d)"
)
_TRUNK_ZERO = re.compile(r"(?<![\w.\-/+])\(?0[1-9]\d{1,3}\)?(?:[ ]\d{2,4}){2,4}(?![\w]|[.\-,]\d)")
_SURE = (_INTERNATIONAL, _DIALED_ABROAD, _NORTH_AMERICA, _TRUNK_ZERO)

# Words that make even a bare run of digits a number to call, and words that do so only for grouped digits.
_STRONG_BEFORE = re.compile(
    r"(?:(?<![a-z])(?:(?:tele)?phone|tel(?:\b|_)|mobile|fax|sms(?![a-z]))|whatsapp|msisdn|hotline|t[eé]l[eé]fono?|telefon"
    r"|handynummer|电话|手机|電話)[\w ]{0,12}[^\w\d]{0,6}(?:(?:is|at|to|on|no|number)\W{1,3}){0,2}\Z",
    re.I,
)
_WEAK_BEFORE = re.compile(
    r"\b(?:call|reach|ring|dial|contact|text me|answering|cell|number|pager)\b(?!\s*\()[^\d\n]{0,24}\Z", re.I
)
_STRONG_AFTER = re.compile(r"[ \-]{0,2}\(?(?:fax|mobile|phone|tel|telephone)\b", re.I)
_WEAK_AFTER = re.compile(r"[ \-]{0,2}\(?(?:office|home|work|cell|direct)\b", re.I)
_DATE = re.compile(r"(?:19|20)\d\d[\-./ ]\d\d?[\-./ ]\d\d?|\d\d?[\-./ ]\d\d?[\-./ ](?:19|20)\d\d")
_BARE = re.compile(r"\d{7,15}\Z")
_GROUPED = re.compile(r"\(?\d{1,5}\)?(?:[ \-./]{1,2}\(?\d{2,6}\)?){1,5}\Z")


def phone(value: str, before: str, after: str) -> list[tuple[int, int]]:
    """Ranges of a run of digits and separators that are telephone numbers (a detector, see detectors.py)."""
    around = before[-1:] + value + after[:2]  # so that the patterns see what stands beside the run
    shift = len(before[-1:])
    found = []
    for shape in _SURE:
        for match in shape.finditer(around):
            start, end = match.start() - shift, match.end() - shift
            if start >= 0 and end <= len(value) and _plausible(match[0]):
                found.append((start, end))
    if found:
        return found
    return [(0, len(value))] if _said_to_be_one(value, before, after) else []


def _said_to_be_one(value: str, before: str, after: str) -> bool:
    if not 7 <= _digits(value) <= 15 or re.search(r"[\w.\-]\Z|\d,\Z", before) or re.match(r"\w|[.,]\d", after):
        return False
    if _DATE.match(value):
        return False
    strong = _STRONG_BEFORE.search(before) or _STRONG_AFTER.match(after)
    if strong and (_BARE.match(value) or _GROUPED.match(value)):
        return True
    weak = _WEAK_BEFORE.search(before) or _WEAK_AFTER.match(after)
    return bool(weak and _GROUPED.match(value))


def _plausible(number: str) -> bool:
    least = 8 if re.search(r"[ ().\-/]", number) else 10  # "+20261120" is more often a sum or a diff
    return least <= _digits(number) <= 15


def _digits(text: str) -> int:
    return sum(c.isdigit() for c in text)
