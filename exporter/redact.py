"""Takes personal data and secrets out of texts before they are folded or stored.

One weak look over all texts finds the few in which something may stand; only those are looked at closely, through
every view of normal_views.py, with the exact checks of detectors.py. A hit becomes its rule's marker. Markers are
barriers: nothing matches into or across one, and a text is redacted until nothing more is found, so redacting twice
changes nothing. What cannot be redacted is replaced whole: an error never lets a text through.

This is a baseline of patterns, not a promise that no personal data is left (names and addresses are out of its reach).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spanfold.exporter import json_texts
from spanfold.exporter.errors import RuleInvalid
from spanfold.exporter.normal_views import CHUNK_BREAK
from spanfold.exporter.redaction_rules import MAX_RULES, Rule, check_rule
from spanfold.exporter.rule_matching import Hit, Indices, Matcher, as_array

FAILED = "[REDACTION_FAILED]"
Counts = dict[str, int]
Redacted = tuple[str, Counts]
_MAX_PASSES = 12
_MAX_DEPTH = 4  # JSON in strings of JSON in strings


def pseudonym(hash_key: bytes, identifier: str) -> str:
    """`u_` + 16 hex digits: what stands for an identifier that is personal data."""
    normal = unicodedata.normalize("NFKC", identifier).casefold().encode("utf-8", "replace")
    return "u_" + hmac.digest(hash_key, normal, hashlib.sha256)[:8].hex()


class Redactor:
    """Applies a set of rules. Immutable and safe for threads; make a new one when the rules change."""

    def __init__(self, rules: Iterable[Rule], *, enabled: bool = True, hash_key: bytes = b"") -> None:
        self._rules = [rule for rule in rules if rule.enabled]
        if len(self._rules) > MAX_RULES:
            raise RuleInvalid(f"{len(self._rules)} redaction rules are enabled; at most {MAX_RULES} can be")
        for rule in self._rules:
            check_rule(rule)
        self._enabled, self._hash_key = enabled and bool(self._rules), hash_key
        self._matcher = Matcher(self._rules)
        markers = sorted({rule.replacement for rule in self._rules} | {FAILED}, key=len, reverse=True)
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
        results: list[tuple[Any, Counts]] = [(obj, {}) for obj in objs]
        if not self._enabled:
            return results
        texts: list[str] = []
        contexts: list[str] = []
        ends = []
        for obj in objs:
            json_texts.gather(obj, "", texts, contexts)
            ends.append(len(texts))
        changed: dict[int, dict[int, Redacted]] = {}
        for at, redacted in self._settle(texts, contexts).items():
            owner = int(np.searchsorted(ends, at, side="right"))
            changed.setdefault(owner, {})[at - (ends[owner - 1] if owner else 0)] = redacted
        for owner, found in changed.items():
            counts: Counter[str] = Counter()
            for _, hits in found.values():
                counts.update(hits)
            value = json_texts.put_back(objs[owner], {at: text for at, (text, _) in found.items()})
            results[owner] = value, dict(counts)
        return results

    def column(self, array: pa.Array) -> tuple[pa.Array, Counts, Indices]:
        """(redacted strings, hits by rule over all rows, indices of changed rows). A value is looked at once."""
        if not self._enabled or len(array) == array.null_count:
            return array, {}, np.empty(0, np.int64)
        encoded = array.dictionary_encode()
        candidates = self._matcher.candidates(encoded.dictionary)
        texts = encoded.dictionary.take(pa.array(candidates)).to_pylist()
        found = {int(candidates[i]): redacted for i, redacted in self._settle(texts, [""] * len(texts)).items()}
        if not found:
            return array, {}, np.empty(0, np.int64)
        codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
        rows = np.bincount(codes[codes >= 0], minlength=len(encoded.dictionary))
        totals: Counter[str] = Counter()
        for code, (_, counts) in found.items():
            totals.update({name: hits * int(rows[code]) for name, hits in counts.items()})
        new = pa.array([found[i][0] if i in found else None for i in range(len(encoded.dictionary))], array.type)
        redacted = pc.coalesce(new, encoded.dictionary).take(encoded.indices)
        return redacted, dict(totals), np.flatnonzero(np.isin(codes, list(found)))

    def identifier(self, value: str | None) -> str | None:
        """`u_` + 16 hex digits of a keyed hash if the identifier is personal data (say, an e-mail address), else None.

        Equal for spellings that differ in case or width only.
        """
        return self._hashed(value) if value and self.texts([value])[0] is not None else None

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
        return pseudonym(self._hash_key, value)

    def _settle(self, values: Sequence[str], contexts: Sequence[str]) -> dict[int, Redacted]:
        """Redacts until nothing more is found. Position -> (text, hits), for the texts that changed."""
        settled: dict[int, Redacted] = {}
        if not self._enabled:
            return settled
        at: Sequence[int] = range(len(values))
        for _ in range(_MAX_PASSES):
            changed = self._pass(values, contexts, 0)
            if not changed:
                return settled
            order = sorted(changed)
            for i in order:
                text, counts = changed[i]
                before = settled[at[i]][1] if at[i] in settled else {}
                settled[at[i]] = text, dict(Counter(before) + Counter(counts))
            values, contexts = [changed[i][0] for i in order], [contexts[i] for i in order]
            at = [at[i] for i in order]
        return settled | dict.fromkeys(at, (FAILED, {"redaction_failed": 1}))

    def _pass(self, values: Sequence[str], contexts: Sequence[str], depth: int) -> dict[int, Redacted]:
        """One look at each text. `contexts`: what to put before a text (the key it stands under) while looking."""
        looked_at = [c + v if c else v for c, v in zip(contexts, values, strict=True)] if any(contexts) else values
        documents: dict[int, list[json_texts.Token]] = {}
        plain: list[int] = []
        for i in self._matcher.candidates(as_array(looked_at)).tolist():
            tokens = json_texts.tokens(values[i]) if depth < _MAX_DEPTH else None
            if tokens is None:
                plain.append(i)
            else:
                documents[i] = tokens
        found = self._look([looked_at[i] for i in plain], [len(contexts[i]) for i in plain])
        changed = {i: redacted for i, redacted in zip(plain, found, strict=True) if redacted is not None}
        return changed | (self._documents(values, documents, depth) if documents else {})

    def _documents(
        self, values: Sequence[str], documents: dict[int, list[json_texts.Token]], depth: int
    ) -> dict[int, Redacted]:
        """Texts that are JSON: their strings are texts of their own."""
        flat = [(i, token) for i, tokens in documents.items() for token in tokens]
        found = self._pass([token.text for _, token in flat], [token.context for _, token in flat], depth + 1)
        edits: dict[int, list[tuple[json_texts.Token, str]]] = {}
        counts: dict[int, Counter[str]] = {}
        for at in sorted(found):
            i, token = flat[at]
            edits.setdefault(i, []).append((token, found[at][0]))
            counts.setdefault(i, Counter()).update(found[at][1])
        return {i: (json_texts.splice(values[i], changes), dict(counts[i])) for i, changes in edits.items()}

    def _look(self, texts: Sequence[str], skips: Sequence[int]) -> list[Redacted | None]:
        """Each text behind its first `skip` characters, redacted; None if nothing was found there."""
        pieces = [(i, start, end) for i, text in enumerate(texts) for start, end in self._between_markers(text)]
        hits: list[list[Hit]] = [[] for _ in texts]
        try:
            found = self._matcher.hits([texts[i][start:end] for i, start, end in pieces])
        except Exception:  # a faulty detector must not let a text through, nor cost the others
            if len(texts) == 1:
                return [(FAILED, {"redaction_failed": 1})]
            return [self._look([text], [skip])[0] for text, skip in zip(texts, skips, strict=True)]
        for (i, start, _), inside in zip(pieces, found, strict=True):
            hits[i] += (Hit(hit.start + start, hit.end + start, hit.rule) for hit in inside)
        return [self._replace(*each) for each in zip(texts, skips, hits, strict=True)]

    def _between_markers(self, text: str) -> list[tuple[int, int]]:
        markers = [marker.span() for marker in self._markers.finditer(text)] if "[" in text else []
        starts, ends = [0, *(end for _, end in markers)], [*(start for start, _ in markers), len(text)]
        return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]

    def _replace(self, text: str, skip: int, hits: list[Hit]) -> Redacted | None:
        pieces: list[str] = []
        counts: Counter[str] = Counter()
        done = skip
        for hit in hits:
            if hit.end <= skip:
                continue
            rule = self._rules[hit.rule]
            breaks = CHUNK_BREAK * text.count(CHUNK_BREAK, hit.start, hit.end)  # as many pieces as before
            pieces += (text[done : hit.start], rule.replacement, breaks)
            done = hit.end
            counts[rule.name] += 1
        return ("".join((*pieces, text[done:])), dict(counts)) if counts else None
