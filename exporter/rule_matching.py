"""Finds what the rules mean in many texts at once: a weak look at all, then every rule over every view of the rest.

Work is column-wise: a pattern runs over a whole Arrow column at a time (RE2, 0.3 to 20 GB/s), and Python touches only
the texts in which it was seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

from spanfold.exporter.detectors import CONTEXT, Detector, find_detector, known_domain
from spanfold.exporter.normal_views import CHUNK_BREAK, DISGUISES, View, views_of
from spanfold.exporter.redaction_rules import (
    BUILT_IN,
    EXACT_SHAPES,
    NUMBERS,
    OPEN_SHAPES,
    PREFILTERS,
    SEVEN_DIGITS,
    SPLITTABLE,
    Rule,
)

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Indices = np.ndarray[Any, np.dtype[np.int64]]
_PATTERNS_A_PASS = 20  # an automaton of more would outgrow its memory (8 MB) and crawl
_FIRST_TOKEN = re.compile(rb"[0-9A-Za-z]+")
_NUMBERS_ONLY = re.compile(r"[\s\d.,\-]+")


@dataclass(frozen=True, slots=True)
class Hit:
    """A range of a text to replace. `rule` is its position in the list of rules: the smaller names the marker."""

    start: int
    end: int
    rule: int


@dataclass(frozen=True, slots=True)
class _Compiled:
    rule: Rule
    regex: Any
    detector: Detector | None
    group: int  # what is replaced: the first group, or the whole match


class Matcher:
    """The enabled rules, compiled."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [_compile(rule) for rule in rules]
        built_in = {rule.pattern: f"(?:{PREFILTERS[rule.name]})" for rule in BUILT_IN}
        weak = [built_in.get(rule.pattern, f"(?:{rule.pattern})") for rule in rules]
        self._numbers = {
            i: weak[i] for i, rule in enumerate(rules) if rule.name in NUMBERS and rule.pattern in built_in
        }
        others = [pattern for i, pattern in enumerate(weak) if i not in self._numbers]
        self._others = ["|".join(others[i : i + _PATTERNS_A_PASS]) for i in range(0, len(others), _PATTERNS_A_PASS)]
        self._weakest = [f"{DISGUISES}|{SEVEN_DIGITS}" if self._numbers else DISGUISES]

    def candidates(self, array: pa.Array) -> Indices:
        """Indices of the texts in which a rule may hit; the others surely hold nothing."""
        seen = _seen(array, self._others)
        weakly = np.flatnonzero(_seen(array, self._weakest))
        if len(weakly):
            seen[weakly[_seen(array.take(pa.array(weakly)), [DISGUISES, *self._numbers.values()])]] = True
        return np.flatnonzero(seen)

    def hits(self, texts: Sequence[str]) -> list[list[Hit]]:
        """Disjoint hits of each text, in order."""
        array = as_array(texts)
        disguised, others = _seen(array, [DISGUISES]), _seen(array, self._others)
        views = [(i, view) for i, text in enumerate(texts) for view in views_of(text, disguised=bool(disguised[i]))]
        owners, viewed = np.array([i for i, _ in views], np.int64), as_array([view.text for _, view in views])
        found: list[list[tuple[View, Hit]]] = [[] for _ in texts]
        for index, compiled in enumerate(self._rules):
            weak = self._numbers.get(index)
            may = disguised | (others if weak is None else _seen(array, [weak]))
            at = np.flatnonzero(may[owners])
            at = at[_seen(viewed.take(pa.array(at)), [compiled.rule.pattern])]
            for i, view in (views[k] for k in at.tolist()):
                found[i] += ((view, Hit(start, end, index)) for start, end in _ranges(compiled, view.text))
        return [self._settle(text, pairs) for text, pairs in zip(texts, found, strict=True)]

    def _settle(self, text: str, found: list[tuple[View, Hit]]) -> list[Hit]:
        """Hits of all views of a text as ranges of the text itself."""
        hits: list[Hit] = []
        split: list[Hit] = []
        for view, seen in found:
            hit = Hit(*view.origin(seen.start, seen.end), seen.rule)
            if not view.joined:
                hits.append(hit)
            elif self._is_split(text, hit, view.text[seen.start : seen.end]):
                split.append(hit)
        for hit in split:
            alone = not any(hit.start < other.end and other.start < hit.end for other in hits)
            if alone or self._rules[hit.rule].rule.name not in SPLITTABLE:
                hits.append(hit)
        return _disjoint(hits)

    def _is_split(self, text: str, hit: Hit, value: str) -> bool:
        """Whether a hit in the text without line breaks is one value that was split, not two that stood apart."""
        covered = text[hit.start : hit.end]
        tail = max(covered.rfind("\n"), covered.rfind(CHUNK_BREAK)) + 1
        name = self._rules[hit.rule].rule.name
        if tail == 0 or name in EXACT_SHAPES:
            return tail > 0
        if name in OPEN_SHAPES:
            rest = covered[tail:]
            return len(rest) >= 6 and any(c.isdigit() for c in rest) and any(c.isalpha() for c in rest)
        if name == "email":
            return known_domain(value)
        return name in SPLITTABLE and not _is_column(text, hit)


def as_array(values: Sequence[str]) -> pa.Array:
    """An Arrow column of the texts; lone surrogates, which UTF-8 cannot hold, become question marks."""
    try:
        return pa.array(values, pa.large_string())
    except (UnicodeEncodeError, pa.ArrowInvalid):
        return pa.array([v.encode("utf-8", "replace").decode() for v in values], pa.large_string())


def _seen(array: pa.Array, patterns: Sequence[str]) -> Mask:
    """Which texts hold at least one of the patterns."""
    seen = np.zeros(len(array), np.bool_)
    for pattern in patterns:
        found = pc.fill_null(pc.match_substring_regex(array, pattern), False)
        seen |= found.to_numpy(zero_copy_only=False)
    return seen


def _ranges(compiled: _Compiled, text: str) -> Iterator[tuple[int, int]]:
    """Ranges that the rule means. After a false alarm the search goes on behind its first token, not its end."""
    data = text.encode("utf-8", "replace")
    plain = len(data) == len(text)
    position = 0
    while (match := compiled.regex.search(data, position)) is not None:
        start, end = match.span(compiled.group)
        if start < 0:
            start, end = match.span()
        first, last = (start, end) if plain else (_characters(data, start), _characters(data, end))
        ranges = [(first, last)]
        if compiled.detector is not None:
            before, after = text[max(0, first - CONTEXT) : first], text[last : last + CONTEXT]
            ranges = [(first + a, first + b) for a, b in compiled.detector(text[first:last], before, after)]
        yield from ranges
        if ranges:
            done = ranges[-1][1]
            position = max(done if plain else len(text[:done].encode("utf-8", "replace")), match.start() + 1)
        else:
            token = _FIRST_TOKEN.match(data, match.start())
            position = token.end() if token else match.start() + 1


def _disjoint(hits: list[Hit]) -> list[Hit]:
    """Overlapping hits become one over their union, named by the rule of highest priority."""
    merged: list[Hit] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, hit.end)):
        if hit.start >= hit.end:
            continue
        if merged and hit.start < merged[-1].end:
            last = merged[-1]
            merged[-1] = Hit(last.start, max(last.end, hit.end), min(last.rule, hit.rule))
        else:
            merged.append(hit)
    return merged


def _is_column(text: str, hit: Hit) -> bool:
    """Numbers under each other, a line each: a table's column, not one number."""
    start = text.rfind("\n", 0, hit.start) + 1
    end = text.find("\n", hit.end)
    lines = text[start : len(text) if end < 0 else end].split("\n")
    neighbours = [text[:start].rstrip("\n").rpartition("\n")[2], "" if end < 0 else text[end + 1 :].partition("\n")[0]]
    return all(map(_NUMBERS_ONLY.fullmatch, lines)) and any(map(_NUMBERS_ONLY.fullmatch, neighbours))


def _compile(rule: Rule) -> _Compiled:
    options = re2.Options()
    options.log_errors = False
    regex = re2.compile(rule.pattern.encode(), options)
    return _Compiled(rule, regex, find_detector(rule.detector) if rule.detector else None, min(regex.groups, 1))


def _characters(data: bytes, position: int) -> int:
    return len(data[:position].decode())
