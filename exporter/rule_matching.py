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
from spanfold.exporter.normal_views import DISGUISES, ESCAPED_BREAKS, View, views_of
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
_MANY = 200
_FIRST_TOKEN = re.compile(rb"[0-9A-Za-z]+")
_NUMBERS_ONLY = re.compile(r"[\s\d.,\-]+")


@dataclass(frozen=True, slots=True)
class Hit:
    """A range of a text to replace. `rule` is its position in the list of rules: the smaller names the marker."""

    start: int
    end: int
    rule: int


class _Look:
    """A pattern to look for in many texts."""

    def __init__(self, pattern: str) -> None:
        self._pattern, self._regex = pattern, re2.compile(pattern, _options())

    def seen_in(self, texts: pa.Array) -> Mask:
        """Which texts hold the pattern. Arrow compiles it anew for each call, which pays from some hundred texts on."""
        if len(texts) < _MANY:
            search = self._regex.search
            return np.fromiter(
                (t is not None and search(t) is not None for t in texts.to_pylist()), np.bool_, len(texts)
            )
        found = pc.fill_null(pc.match_substring_regex(texts, self._pattern), False)
        return np.asarray(found.to_numpy(zero_copy_only=False))


@dataclass(frozen=True, slots=True)
class _Compiled:
    rule: Rule
    regex: Any
    look: _Look
    detector: Detector | None
    group: int  # what is replaced: the first group, or the whole match


class Matcher:
    """The enabled rules, compiled."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [_compile(rule) for rule in rules]
        built_in = {rule.pattern: f"(?:{PREFILTERS[rule.name]})" for rule in BUILT_IN}
        weak = [built_in.get(rule.pattern, f"(?:{rule.pattern})") for rule in rules]
        self._numbers = {
            i: _Look(weak[i]) for i, rule in enumerate(rules) if rule.name in NUMBERS and rule.pattern in built_in
        }
        others = [pattern for i, pattern in enumerate(weak) if i not in self._numbers]
        groups = [others[i : i + _PATTERNS_A_PASS] for i in range(0, len(others), _PATTERNS_A_PASS)]
        self._others = [_Look("|".join(group)) for group in groups]
        self._disguises = _Look(DISGUISES)
        self._escapes = _Look(rf"{DISGUISES}|{ESCAPED_BREAKS}")
        self._weakest = _Look(f"{DISGUISES}|{SEVEN_DIGITS}") if self._numbers else self._disguises

    def candidates(self, texts: pa.Array) -> Indices:
        """Indices of the texts in which a rule may hit; the others surely hold nothing."""
        seen = _any_seen(texts, self._others)
        weakly = np.flatnonzero(self._weakest.seen_in(texts))
        if len(weakly):
            closer = [self._disguises, *self._numbers.values()]
            seen[weakly[_any_seen(texts.take(pa.array(weakly)), closer)]] = True
        return np.flatnonzero(seen)

    def hits(self, texts: Sequence[str]) -> list[list[Hit]]:
        """Disjoint hits of each text, in order."""
        array = as_array(texts)
        disguised, others = self._escapes.seen_in(array), _any_seen(array, self._others)
        views = [(i, view) for i, text in enumerate(texts) for view in views_of(text, disguised=bool(disguised[i]))]
        owners, viewed = np.array([i for i, _ in views], np.int64), as_array([view.text for _, view in views])
        found: list[list[tuple[View, Hit]]] = [[] for _ in texts]
        for index, compiled in enumerate(self._rules):
            weak = self._numbers.get(index)
            may = disguised | (others if weak is None else weak.seen_in(array))
            at = np.flatnonzero(may[owners])
            if len(at) >= _MANY:
                at = at[compiled.look.seen_in(viewed.take(pa.array(at)))]
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
        tail = covered.rfind("\n") + 1
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


def _any_seen(texts: pa.Array, looks: Sequence[_Look]) -> Mask:
    seen = np.zeros(len(texts), np.bool_)
    for look in looks:
        seen |= look.seen_in(texts)
    return seen


def _ranges(compiled: _Compiled, text: str) -> Iterator[tuple[int, int]]:
    """Ranges that the rule means. After a false alarm the search goes on behind its first token, not its end."""
    data = text.encode("utf-8", "replace")
    characters = None if len(data) == len(text) else _character_positions(data)
    position = 0
    while (match := compiled.regex.search(data, position)) is not None:
        start, end = match.span(compiled.group)
        if start < 0:
            start, end = match.span()
        first, last = (start, end) if characters is None else (int(characters[start]), int(characters[end]))
        value, ranges = text[first:last], [(0, last - first)]
        if compiled.detector is not None:
            ranges = compiled.detector(value, text[max(0, first - CONTEXT) : first], text[last : last + CONTEXT])
        if ranges:
            yield from ((first + a, first + b) for a, b in ranges)
            position = max(start + len(value[: ranges[-1][1]].encode("utf-8", "replace")), match.start() + 1)
        else:
            token = _FIRST_TOKEN.match(data, match.start())
            position = token.end() if token else match.start() + 1


def _character_positions(data: bytes) -> Indices:
    """For each byte of UTF-8 (and its end), how many characters begin before it."""
    begins = (np.frombuffer(data, np.uint8) & 0xC0) != 0x80
    return np.concatenate(([0], np.cumsum(begins)))


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
    regex = re2.compile(rule.pattern.encode(), _options())
    detector = find_detector(rule.detector) if rule.detector else None
    return _Compiled(rule, regex, _Look(rule.pattern), detector, min(regex.groups, 1))


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options
