"""Which rule filled which column of a stored span: the normaliser run again on what was kept, watched while it fills.

The tables are the ones in force, so an explanation says what a span means now. Understood content is kept apart from
attributes; what was read from it when the span came is told from the stored columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from spanfold.semconv.anyvalue import jsonable
from spanfold.semconv.detection import Dialects, detect
from spanfold.semconv.dialect import COLUMNS, Dialect, Source
from spanfold.semconv.dialects.common import RESOURCE_KEYS
from spanfold.semconv.events import decode_events
from spanfold.semconv.fill import Filler, event_value
from spanfold.semconv.fill_columns import Mask
from spanfold.semconv.normalise import Normalised, normalise_spans
from spanfold.semconv.rebuild import Row, rebuilt_batch
from spanfold.semconv.records import SpanBatch
from spanfold.semconv.schema import COUNT_COLUMNS

_COMPUTED = ("usage_verdict", "estimated_output_tokens", "is_candidate", "is_container", "truncated")
SHOWN = tuple(dict.fromkeys((
    "dialect", "operation", "status", "error_type", "provider", "request_model", "response_model", "response_id",
    *COUNT_COLUMNS, *_COMPUTED, *sorted(COLUMNS - {"total_tokens"}),
)))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Explained:
    """One column. `value` is what is stored (of the finer token counts: what is made of the attributes); `rule` names
    the dialect and the row of its table; `key` and `raw` are the attribute as sent (None where none was read)."""

    column: str
    value: Any
    rule: str
    key: str | None = None
    raw: Any = None
    now: Any = None  # what the tables in force make of it, where that differs from `value`


@dataclass(frozen=True, slots=True)
class Explanation:
    """`dialects`: those whose marks the span shows, most specific first, with the marks. `unused`: attributes that
    filled nothing, each with whether some table knows the key. `notes`: what could not be taken as sent."""

    columns: tuple[Explained, ...]
    dialects: tuple[tuple[str, str], ...]
    unused: tuple[tuple[str, Any, bool], ...]
    notes: tuple[tuple[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "columns": [
                {"column": e.column, "value": e.value, "rule": e.rule, "key": e.key, "raw": e.raw}
                | ({"now": e.now} if e.now is not None else {})
                for e in self.columns
            ],
            "dialects": [{"name": name, "marks": marks} for name, marks in self.dialects],
            "not_understood": [{"key": key, "value": value, "known_key": known} for key, value, known in self.unused],
            "notes": [{"kind": kind, "detail": detail} for kind, detail in self.notes],
        }


@dataclass(slots=True)
class _Watching(Filler):
    """A filler of one span that remembers which source filled each column."""

    filled: dict[str, tuple[Source, Source]] = field(default_factory=dict)  # column -> (as in the table, as read)

    def fill(self, name: str, source: Source, allowed: Mask | None) -> None:
        before = bool(self.column(name).filled[0])
        Filler.fill(self, name, source, allowed)
        if not before and self.column(name).filled[0]:
            self.filled[name] = (source, self.filled.get(name, (source, source))[1])  # the read one has no `*` any more


def explain(row: Row, private: Row, dialects: Dialects) -> Explanation:
    """Of a row of the view `spans` and its private object ({} where it may not be read)."""
    batch = rebuilt_batch([row], [private])
    watching: list[_Watching] = []

    def watched(*arguments: Any) -> Filler:
        watching.append(_Watching(*arguments))
        return watching[0]

    found = normalise_spans(batch, dialects, filler=watched)
    told = _Told(batch, found, watching[0], _rules(dialects), _marks(batch, dialects))
    stored = {name: jsonable(array[0].as_py()) for name, array in found.fields.items()} | dict(row)
    columns = tuple(told.column(name, stored[name]) for name in SHOWN if _said(stored.get(name)))
    used = {told.key_of(source) for _, source in watching[0].filled.values()}
    known = [key for table in dialects.tables for key in keys_of(table)]
    unused = tuple(
        (key, jsonable(batch.attributes.objects(key)[0][1]), any(matches(pattern, key) for pattern in known))
        for key in sorted(batch.attributes.keys)
        if key not in used
    )
    return Explanation(columns, tuple(told.marks), unused, tuple((note.kind, note.detail) for note in found.notes))


@dataclass(frozen=True, slots=True)
class _Told:
    """What a run of the normaliser tells about each column."""

    batch: SpanBatch
    found: Normalised
    filler: _Watching
    rules: Mapping[int, str]
    marks: Sequence[tuple[str, str]]

    def column(self, name: str, stored: Any) -> Explained:
        array = self.found.fields.get(name)
        now = None if array is None else jsonable(array[0].as_py())
        differs = now if _said(now) and now != stored else None
        if name in self.filler.filled:
            rule, read = self.filler.filled[name]
            where = self.rules.get(id(rule)) or f"baggage copied to the span ({rule.key})"
            return Explained(name, stored, where + _how(rule), self.key_of(read), self._raw(read), differs)
        key = next((k for k in RESOURCE_KEYS.get(name, ()) if k in self.batch.origins[0].attributes), None)
        if key is not None and _said(now):
            raw = jsonable(self.batch.origins[0].attributes[key])
            return Explained(name, stored, f"resource attribute {key}", key, raw, differs)
        return Explained(name, stored, self._otherwise(name, now), None, None, differs)

    def key_of(self, source: Source) -> str:
        return f"event {source.event}: {source.key}" if source.event else source.key

    def _raw(self, source: Source) -> Any:
        if source.key == "@name" and not source.event:
            return self.batch.columns["name"][0].as_py()
        if source.key == "@scope" and not source.event:
            return self.batch.origins[0].scope_name
        if source.event:
            events = decode_events(self.batch.columns["events"][0].as_py())
            return next((jsonable(event_value(e, source.key)) for e in events if e.name == source.event), None)
        held = self.batch.attributes.objects(source.key)
        return jsonable(held[0][1]) if held else None

    def _otherwise(self, name: str, now: Any) -> str:
        """The rule of a column that no table filled."""
        if not _said(now) and name not in ("is_candidate", "is_container", "truncated"):
            return "from content, or from a twin span or log record: kept apart from the attributes"
        if name == "dialect":
            return f"the most specific dialect that the span shows marks of: {self.marks[0][1] if self.marks else ''}"
        if name in COUNT_COLUMNS or name == "usage_verdict":
            return "worked out from the counts as sent (usage_verdict says how the totals were read)"
        return _WORKED_OUT.get(name, "worked out from the span")


_WORKED_OUT = {
    "operation": "read from the span's name",
    "status": "status code, error.type and finish reasons of the span",
    "provider": "the maker of the model, by its name",
    "is_candidate": "an inference or embeddings operation, or usage with a model",
    "is_container": "an agent, workflow or gateway operation",
    "streaming": "a time to the first token was sent",
    "truncated": "the sender says that attributes were dropped",
    "estimated_output_tokens": "characters of the answer divided by four",
    "key_label": "the label of the API key",
}


def keys_of(table: Dialect) -> set[str]:
    """The attribute keys, and patterns of keys, that a table reads: fields and content."""
    keys = {source.key for listed in table.fields.values() for source in listed if not source.event}
    for places in table.content.values():
        for place in places:
            if not place.event and place.key.endswith("}"):
                prefix, names = place.key[:-1].split("{")
                keys |= {prefix + name for name in names.split(",")}
            elif not place.event:
                keys.add(place.key)
    return keys


def matches(pattern: str, key: str) -> bool:
    """Is this key meant by a key of a table? `*` stands for one name, at the end for everything below."""
    if pattern.endswith(".*"):
        return key.startswith(pattern[:-1])
    if "*" not in pattern:
        return key == pattern
    return re.fullmatch(re.escape(pattern).replace(r"\*", r"[^.]+"), key) is not None


def read_keys(dialects: Dialects) -> list[str]:
    """Regular expressions over `dialect key`: which attributes rules read, on spans of which dialect (keys of a guarded
    table on its own spans only)."""
    found: dict[str, set[str]] = {}
    for table in dialects.tables:
        where = re.escape(table.name) if table.guarded else r"\S+"
        found.setdefault(where, set()).update(_expression(key) for key in keys_of(table) if key[:1] != "@")
    return sorted(f"{where} (?:{'|'.join(sorted(keys))})" for where, keys in found.items() if keys)


def _expression(pattern: str) -> str:
    head = pattern.removesuffix(".*")
    return re.escape(head).replace(r"\*", r"[^.]+") + (r"\..*" if head != pattern else "")


def _rules(dialects: Dialects) -> dict[int, str]:
    """Identity of a source -> its row: dialect, column, place in the list."""
    return {
        id(source): f"{table.name}: fields.{column}, place {at + 1} of {len(sources)}"
        for table in dialects.tables
        for column, sources in table.fields.items()
        for at, source in enumerate(sources)
    }


def _marks(batch: SpanBatch, dialects: Dialects) -> list[tuple[str, str]]:
    """The dialects that the span speaks, with what shows it."""
    events = decode_events(batch.columns["events"][0].as_py())
    found = detect(dialects.tables, batch.attributes, batch.origins, np.zeros(1, np.int32), {0: events})
    keys, scope = batch.attributes.keys, batch.origins[0].scope_name
    out = []
    for table in dialects.tables:
        if table.name in found and table.labels:
            marks = [f"scope {glob}" for glob in table.detect.scopes if fnmatchcase(scope, glob)]
            marks += [key for key in table.detect.keys if key in keys]
            marks += [f"{p}*" for p in table.detect.prefixes if any(key.startswith(p) for key in keys)]
            marks += [f"event {name}" for name in table.detect.events if any(e.name == name for e in events)]
            out.append((table.name, ", ".join(marks)))
    return out


def _how(source: Source) -> str:
    parts = [f"{name} {value}" for name in ("path", "pattern", "unit") if (value := getattr(source, name))]
    parts += [f"times {source.scale:g}"] * (source.scale != 1.0) + ["value map"] * bool(source.values)
    parts += [f"constant {source.constant}"] * bool(source.constant) + [f"since {source.since}"] * bool(source.since)
    return f" ({', '.join(parts)})" if parts else ""


def _said(value: Any) -> bool:
    return value is not None and value != "" and value != []
