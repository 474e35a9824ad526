"""Takes personal data and secrets out of texts before they are folded or stored.

One RE2 pass over all texts (`_glance`) finds the few in which something may stand; only those are looked at closely,
through every view of normal_views.py, with the exact checks of detectors.py. A hit becomes its rule's marker. Markers
are barriers: nothing matches into or across one, and a text is redacted until nothing more is found, so redacting twice
changes nothing. What cannot be redacted is replaced whole: an error never lets a text through.

This is a baseline of patterns, not a promise that no personal data is left (names and addresses are out of its reach).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

from spanfold.exporter import json_texts
from spanfold.exporter.detectors import CONTEXT, Detector, find_detector, known_domain
from spanfold.exporter.errors import RuleInvalid
from spanfold.exporter.normal_views import CHUNK_BREAK, DISGUISES, View, views_of
from spanfold.exporter.redaction_rules import (
    BUILT_IN,
    EXACT_SHAPES,
    MAX_RULES,
    OPEN_SHAPES,
    PREFILTERS,
    SPLITTABLE,
    Rule,
    check_rule,
)

FAILED = "[REDACTION_FAILED]"
Counts = dict[str, int]
Redacted = tuple[str, Counts]
_MAX_PASSES = 12
_MAX_DEPTH = 4  # JSON in strings of JSON in strings
_FIRST_TOKEN = re.compile(rb"[0-9A-Za-z]+")
_NUMBERS_ONLY = re.compile(r"[\s\d.,\-]+")


@dataclass(frozen=True, slots=True)
class _Compiled:
    rule: Rule
    regex: Any
    detector: Detector | None
    group: int  # what is replaced: the first group, or the whole match


@dataclass(frozen=True, slots=True)
class _Hit:
    start: int
    end: int
    rule: int  # position in the list of rules: the smaller wins


class Redactor:
    """Applies a set of rules. Immutable and safe for threads; make a new one when the rules change."""

    def __init__(self, rules: Iterable[Rule], *, enabled: bool = True, hash_key: bytes = b"") -> None:
        active = [rule for rule in rules if rule.enabled]
        if len(active) > MAX_RULES:
            raise RuleInvalid(f"{len(active)} redaction rules are enabled; at most {MAX_RULES} can be")
        self._rules = [_compile(rule) for rule in active]
        self._enabled, self._hash_key = enabled and bool(active), hash_key
        if not self._enabled:
            return
        self._set = re2.Set.SearchSet(_options())
        for rule in active:
            self._set.Add(rule.pattern)
        self._set.Compile()
        built_in = {rule.pattern: PREFILTERS[rule.name] for rule in BUILT_IN}
        self._glance = "|".join([DISGUISES, *(f"(?:{built_in.get(r.pattern, r.pattern)})" for r in active)])
        markers = sorted({rule.replacement for rule in active} | {FAILED}, key=len, reverse=True)
        self._markers = re.compile("|".join(map(re.escape, markers)))

    def text(self, value: str) -> Redacted:
        """(redacted text, hits by rule)."""
        return self.texts([value])[0] or (value, {})

    def texts(self, values: Sequence[str]) -> list[Redacted | None]:
        """One answer a text; None = nothing found. JSON texts stay JSON."""
        found = self._settle(values, [""] * len(values))
        return [found.get(i) for i in range(len(values))]

    def value(self, obj: Any) -> tuple[Any, Counts]:
        """A JSON-like value with every string in it redacted, keys too; the same object if nothing was found."""
        return self.values([obj])[0]

    def values(self, objs: Sequence[Any]) -> list[tuple[Any, Counts]]:
        """Many JSON-like values at once, which is much faster than one by one."""
        if not self._enabled:
            return [(obj, {}) for obj in objs]
        gathered = [json_texts.gather(obj) for obj in objs]
        flat = [text for texts in gathered for text in texts]
        found = self._settle([text.text for text in flat], [text.context for text in flat])
        results, at = [], 0
        for obj, texts in zip(objs, gathered, strict=True):
            mine = {i: found[at + i] for i in range(len(texts)) if at + i in found} if found else {}
            at += len(texts)
            counts: Counter[str] = Counter()
            for _, hits in mine.values():
                counts.update(hits)
            results.append((json_texts.put_back(obj, {i: text for i, (text, _) in mine.items()}), dict(counts)))
        return results

    def column(self, array: pa.Array) -> tuple[pa.Array, Counts, np.ndarray[Any, np.dtype[np.int64]]]:
        """(redacted strings, hits by rule over all rows, indices of changed rows). Looks at each distinct value once."""
        unchanged = (array, {}, np.empty(0, np.int64))
        if not self._enabled or len(array) == array.null_count:
            return unchanged
        encoded = array.dictionary_encode()
        candidates = self._candidates(encoded.dictionary)
        texts = encoded.dictionary.take(candidates).to_pylist()
        found = self._settle(texts, [""] * len(texts))
        if not found:
            return unchanged
        at = {int(candidates[i]): redacted for i, redacted in found.items()}
        codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
        rows = np.bincount(codes[codes >= 0], minlength=len(encoded.dictionary))
        totals: Counter[str] = Counter()
        for code, (_, counts) in at.items():
            totals.update({name: count * int(rows[code]) for name, count in counts.items()})
        values = pa.array([at[i][0] if i in at else None for i in range(len(encoded.dictionary))], array.type)
        dictionary = pc.coalesce(values, encoded.dictionary)
        return dictionary.take(encoded.indices), dict(totals), np.flatnonzero(np.isin(codes, list(at)))

    def identifier(self, value: str | None) -> str | None:
        """`u_` + 16 hex digits of a keyed hash if the identifier is personal data (say, an e-mail address), else None.

        Equal for every spelling that differs in case or width only.
        """
        if not value or not self._enabled or self.texts([value])[0] is None:
            return None
        return self._hashed(value)

    def identifiers(self, array: pa.Array) -> pa.Array:
        """The hashes of a column's identifiers; null where the identifier may stay."""
        if not self._enabled or len(array) == array.null_count:
            return pa.nulls(len(array), array.type)
        encoded = array.dictionary_encode()
        values = encoded.dictionary.to_pylist()
        hashed = [None if hit is None else self._hashed(v) for v, hit in zip(values, self.texts(values), strict=True)]
        return pa.array(hashed, array.type).take(encoded.indices)

    def _hashed(self, value: str) -> str:
        if not self._hash_key:
            raise ValueError("identifiers are hashed with a key; this redactor has none")
        normal = unicodedata.normalize("NFKC", value).casefold().encode("utf-8", "replace")
        return "u_" + hmac.digest(self._hash_key, normal, hashlib.sha256)[:8].hex()

    # ---- passes -----------------------------------------------------------------------------------------------------
    def _settle(self, values: Sequence[str], contexts: Sequence[str]) -> dict[int, Redacted]:
        """Redacts until nothing more is found. Position -> (text, hits), for the texts that changed."""
        if not self._enabled:
            return {}
        settled: dict[int, Redacted] = {}
        pending = dict(enumerate(values))
        for _ in range(_MAX_PASSES):
            at = list(pending)
            changed = self._pass([pending[i] for i in at], [contexts[i] for i in at], 0)
            pending = {at[i]: text for i, (text, _) in changed.items()}
            if not pending:
                return settled
            for i, (text, counts) in changed.items():
                before = settled[at[i]][1] if at[i] in settled else {}
                settled[at[i]] = text, dict(Counter(before) + Counter(counts))
        for i in pending:
            settled[i] = FAILED, {"redaction_failed": 1}
        return settled

    def _pass(self, values: Sequence[str], contexts: Sequence[str], depth: int) -> dict[int, Redacted]:
        """One look at each text. `contexts`: what to put before a text (the key it stands under) while looking."""
        looked_at = [context + value for context, value in zip(contexts, values, strict=True)]
        changed: dict[int, Redacted] = {}
        documents: dict[int, list[json_texts.Token]] = {}
        for i in self._candidates(_as_array(looked_at)).tolist():
            tokens = json_texts.tokens(values[i]) if depth < _MAX_DEPTH else None
            if tokens is not None:
                documents[i] = tokens
            elif (found := self._look(looked_at[i], len(contexts[i]))) is not None:
                changed[i] = found
        if documents:
            changed |= self._documents(values, documents, depth)
        return changed

    def _documents(
        self, values: Sequence[str], documents: dict[int, list[json_texts.Token]], depth: int
    ) -> dict[int, Redacted]:
        flat = [(i, token) for i, tokens in documents.items() for token in tokens]
        found = self._pass([token.text for _, token in flat], [token.context for _, token in flat], depth + 1)
        edits: dict[int, list[tuple[json_texts.Token, str]]] = {}
        counts: dict[int, Counter[str]] = {}
        for at in sorted(found):
            i, token = flat[at]
            edits.setdefault(i, []).append((token, found[at][0]))
            counts.setdefault(i, Counter()).update(found[at][1])
        return {i: (json_texts.splice(values[i], changes), dict(counts[i])) for i, changes in edits.items()}

    def _candidates(self, array: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Indices of the texts in which a rule may hit."""
        seen = pc.fill_null(pc.match_substring_regex(array, self._glance), False)
        return np.flatnonzero(seen.to_numpy(zero_copy_only=False))

    def _look(self, text: str, skip: int) -> Redacted | None:
        """The text behind the first `skip` characters, redacted; None if nothing was found there."""
        try:
            hits = [hit for hit in self._hits(text) if hit.end > skip]
        except Exception:  # a faulty detector must not let the text through
            return FAILED, {"redaction_failed": 1}
        if not hits:
            return None
        pieces, done = [], skip
        counts: Counter[str] = Counter()
        for hit in hits:
            rule = self._rules[hit.rule].rule
            pieces += (
                text[done : hit.start],
                rule.replacement,
                CHUNK_BREAK * text.count(CHUNK_BREAK, hit.start, hit.end),
            )
            done = hit.end
            counts[rule.name] += 1
        return "".join((*pieces, text[done:])), dict(counts)

    # ---- one text ---------------------------------------------------------------------------------------------------
    def _hits(self, text: str) -> list[_Hit]:
        """Disjoint hits in order. Between markers each piece is looked at alone."""
        done = 0
        hits: list[_Hit] = []
        for marker in self._markers.finditer(text) if "[" in text else ():
            hits += self._hits_between(text[done : marker.start()], done)
            done = marker.end()
        return hits + self._hits_between(text[done:], done)

    def _hits_between(self, text: str, offset: int) -> list[_Hit]:
        hits: list[_Hit] = []
        split: list[_Hit] = []
        for view in views_of(text):
            for found in self._matches(view.text):
                hit = _Hit(*view.origin(found.start, found.end), found.rule)
                if not view.joined:
                    hits.append(hit)
                elif self._is_split(text, hit, view, found):
                    split.append(hit)
        for hit in split:
            alone = not any(hit.start < other.end and other.start < hit.end for other in hits)
            if alone or self._rules[hit.rule].rule.name not in SPLITTABLE:
                hits.append(hit)
        return [_Hit(hit.start + offset, hit.end + offset, hit.rule) for hit in _disjoint(hits)]

    def _is_split(self, text: str, hit: _Hit, view: View, found: _Hit) -> bool:
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
            return known_domain(view.text[found.start : found.end])
        return name in SPLITTABLE and not _is_column(text, hit)

    def _matches(self, text: str) -> Iterator[_Hit]:
        data = text.encode("utf-8", "replace")
        plain = len(data) == len(text)
        for index in sorted(self._set.Match(data) or ()):
            compiled = self._rules[index]
            for start, end in _ranges(compiled, data, text if plain else None):
                if plain:
                    yield _Hit(start, end, index)
                else:
                    yield _Hit(_characters(data, start), _characters(data, end), index)


def _ranges(compiled: _Compiled, data: bytes, text: str | None) -> Iterator[tuple[int, int]]:
    """Byte ranges that the rule means. After a false alarm the search goes on behind its first token, not its end."""
    position = 0
    while (match := compiled.regex.search(data, position)) is not None:
        start, end = match.span(compiled.group)
        if start < 0:
            start, end = match.span()
        ranges = [(start, end)]
        if compiled.detector is not None:
            ranges = [(start + a, start + b) for a, b in _ask(compiled.detector, data, start, end)]
        yield from ranges
        if ranges:
            position = max(ranges[-1][1], match.start() + 1)
        else:
            first = _FIRST_TOKEN.match(data, match.start())
            position = first.end() if first else match.start() + 1


def _ask(detector: Detector, data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    before = data[max(0, start - 2 * CONTEXT) : start].decode("utf-8", "ignore")[-CONTEXT:]
    after = data[end : end + 2 * CONTEXT].decode("utf-8", "ignore")[:CONTEXT]
    value = data[start:end].decode("utf-8", "replace")
    ranges = detector(value, before, after)
    if len(value) == end - start:
        return ranges
    return [(len(value[:a].encode()), len(value[:b].encode())) for a, b in ranges]


def _disjoint(hits: list[_Hit]) -> list[_Hit]:
    """Overlapping hits become one over their union, named by the rule of highest priority."""
    merged: list[_Hit] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, hit.end)):
        if hit.start >= hit.end:
            continue
        if merged and hit.start < merged[-1].end:
            last = merged[-1]
            merged[-1] = _Hit(last.start, max(last.end, hit.end), min(last.rule, hit.rule))
        else:
            merged.append(hit)
    return merged


def _is_column(text: str, hit: _Hit) -> bool:
    """Numbers under each other, a line each: a table's column, not one number."""
    start = text.rfind("\n", 0, hit.start) + 1
    end = text.find("\n", hit.end)
    lines = text[start : len(text) if end < 0 else end].split("\n")
    around = text[:start].rsplit("\n", 2)[-2:] + text[max(end, 0) :].split("\n", 2)[1:2]
    return all(_NUMBERS_ONLY.fullmatch(line) for line in lines) and any(_NUMBERS_ONLY.fullmatch(x) for x in around if x)


def _compile(rule: Rule) -> _Compiled:
    check_rule(rule)
    regex = re2.compile(rule.pattern.encode(), _options())
    return _Compiled(rule, regex, find_detector(rule.detector) if rule.detector else None, min(regex.groups, 1))


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 32 << 20
    return options


def _characters(data: bytes, position: int) -> int:
    return len(data[:position].decode("utf-8", "ignore"))


def _as_array(values: Sequence[str]) -> pa.Array:
    try:
        return pa.array(values, pa.large_string())
    except (UnicodeEncodeError, pa.ArrowInvalid):  # lone surrogates
        return pa.array([v.encode("utf-8", "replace").decode() for v in values], pa.large_string())
