"""Columns of a batch filled by rules: a rule reads one key for the whole batch, and the first value of a row wins.

Nothing here loops over spans, except over unique values where a pattern, a value map or a JSON path is asked for.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spanfold.semconv import provider_objects
from spanfold.semconv.anyvalue import decode_any_value
from spanfold.semconv.dialect import Source
from spanfold.semconv.fill_columns import Column, ListColumn, Mask, NumberColumn, TextColumn, empty_column
from spanfold.semconv.json_paths import first, flat, lookup, reach
from spanfold.semconv.loose_json import looks_like_json, read_json
from spanfold.semconv.provider_usage import usage_facts
from spanfold.semconv.records import AttributeColumns, SpanEvent
from spanfold.semconv.value_columns import STRING, Rows

Opened = tuple[Rows, Rows, list[Any]]  # rows, index of each into the values, values


@dataclass(slots=True)
class Filler:
    """Reads sources of one batch. `starts` (ns) is for points in time; `events` are the spans' events by row."""

    attributes: AttributeColumns
    starts: NDArray[np.uint64]
    pseudo: dict[str, tuple[Rows, Any]]  # "@name", "@scope": dictionary codes and texts
    events: Mapping[int, Sequence[SpanEvent]] = field(default_factory=dict)
    trouble: list[tuple[str, str, int]] = field(default_factory=list)  # (kind, key, row)
    columns: dict[str, Column] = field(default_factory=dict)
    _json: dict[tuple[str, str], Opened] = field(default_factory=dict)
    _facts: dict[tuple[str, str, str], list[dict[str, Any]]] = field(default_factory=dict)
    _event_names: frozenset[str] | None = None
    by_name: NDArray[np.bool_] | None = None  # rows whose input tokens a provider's own name for them fills

    def column(self, name: str) -> Column:
        if name not in self.columns:
            self.columns[name] = empty_column(name, self.attributes.length)
        return self.columns[name]

    def has(self, source: Source) -> bool:
        if source.event:
            if self._event_names is None:
                self._event_names = frozenset(event.name for listed in self.events.values() for event in listed)
            return source.event in self._event_names
        return source.key in self.pseudo or bool(self.expand(source.key))

    def expand(self, key: str) -> list[str]:
        """The attribute keys of the batch that a key with a `*` in it means."""
        return matching_keys(self.attributes, key)

    def fill(self, name: str, source: Source, allowed: Mask | None) -> None:
        """Offers the values under one source to a column; `allowed` are the rows that speak this dialect."""
        if "*" in source.key:
            for key in self.expand(source.key):
                self.fill(name, replace(source, key=key), allowed)
            return
        column = self.column(name)
        if isinstance(column, TextColumn):
            rows, values = self._texts(source)
        elif isinstance(column, ListColumn):
            rows, values = self._lists(source)
        elif column.kind is np.bool_:
            rows, values = self._flags(source)
        else:
            rows, values = self._numbers(source, column.kind)
        if allowed is not None and len(rows):
            keep = np.flatnonzero(allowed[rows])
            if len(keep) < len(rows):
                rows = rows[keep]
                values = [values[i] for i in keep] if isinstance(values, list) else _take(values, keep)
        if name in _INPUT and source.unit in ("usage", "response") and isinstance(column, NumberColumn):
            free = rows[~column.known[rows]]
            self.by_name = np.zeros(self.attributes.length, np.bool_) if self.by_name is None else self.by_name
            self.by_name[free] = True
        column.offer(rows, values)

    # ---- texts -----------------------------------------------------------------------------------------------------
    def _texts(self, source: Source) -> tuple[Rows, Any]:
        if source.constant:
            rows = self._reached(source)[0] if source.event else self.attributes.rows_of(source.key)
            return rows, pa.array([source.constant] * len(rows), pa.string())
        if source.key in self.pseudo:
            codes, texts = self.pseudo[source.key]
            rows = np.arange(len(codes))
            return rows, self._mapped(source, pa.DictionaryArray.from_arrays(pa.array(codes), texts))
        if source.path or source.unit or source.event:
            rows, index, values = self._reached(source)
            found = [_as_text(first(value)) for value in values]
            texts = pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), pa.array(found, pa.string()))
            return rows, self._mapped(source, texts)
        at = self.attributes.positions(source.key)
        rows, texts = self.attributes.strings(source.key)
        if len(rows) == len(at):
            return rows, self._mapped(source, texts)
        other = at[self.attributes.tags[at] != STRING]
        told = pa.array([_as_text(v) for v in self.attributes.decode(other)], pa.string())
        rows = np.concatenate([rows, self.attributes.rows[other]])
        return rows, self._mapped(source, pa.concat_arrays([texts, told]))

    def _mapped(self, source: Source, texts: Any) -> Any:
        """Texts after pattern and value map, both over unique values."""
        if not source.pattern and not source.values:
            return texts.cast(pa.string()) if pa.types.is_dictionary(texts.type) else texts
        coded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
        changed = pa.array([change(source, text) for text in coded.dictionary.to_pylist()], pa.string())
        return changed.take(coded.indices)

    # ---- numbers, flags, lists ---------------------------------------------------------------------------------------
    def _numbers(self, source: Source, kind: Any) -> tuple[Rows, NDArray[Any]]:
        if source.path or source.unit or source.event:
            return self._numbers_inside(source, kind)
        if kind is np.int64:
            rows, numbers = self.attributes.integers(source.key)
            self._note_lost(source.key, len(rows))
            return rows, numbers
        rows, doubles = self.attributes.numbers(source.key)
        with np.errstate(over="ignore"):
            scaled = doubles * source.scale
        good = np.isfinite(scaled)
        return rows[good], scaled[good]

    def _numbers_inside(self, source: Source, kind: Any) -> tuple[Rows, NDArray[Any]]:
        rows, index, values = self._reached(source)
        if source.unit == "time":
            nanos = [_nanoseconds(first(value)) for value in values]
            gaps = [
                (nanos[i] - int(self.starts[r])) / 1e6 if nanos[i] else -1.0 for r, i in zip(rows, index, strict=True)
            ]
            found = np.array(gaps, np.float64)
            return rows[found >= 0], found[found >= 0]
        numbers = [as_number(first(value)) for value in values]
        known = np.array([n is not None for n in numbers], np.bool_)
        good = known[index] if len(index) else np.zeros(0, np.bool_)
        flat = np.array([0 if n is None else n * source.scale for n in numbers], np.float64)
        return rows[good], flat[index[good]].astype(kind)

    def _flags(self, source: Source) -> tuple[Rows, NDArray[np.bool_]]:
        if not (source.path or source.unit or source.event or source.values):
            return self.attributes.booleans(source.key)
        rows, index, values = self._reached(source)
        flags = [_as_flag(source, first(value)) for value in values]
        good = np.array([isinstance(f, bool) for f in flags], np.bool_)[index] if len(index) else np.zeros(0, np.bool_)
        return rows[good], np.array([f is True for f in flags], np.bool_)[index[good]]

    def _lists(self, source: Source) -> tuple[Rows, list[tuple[str, ...]]]:
        if source.key in self.pseudo:
            return np.empty(0, np.int64), []
        rows, index, values = self._reached(source)
        lists = [self._list_of(source, value) for value in values]
        return rows, [lists[i] for i in index]

    def _list_of(self, source: Source, value: Any) -> tuple[str, ...]:
        texts = (change(source, str(item)) for item in flat(value) if isinstance(item, str | int))
        return tuple(text for text in texts if text)

    def _reached(self, source: Source) -> Opened:
        """The opened values after the source's unit and path."""
        rows, index, values = self._opened(source)
        read = _FACTS.get(source.unit)
        if read is None:
            return rows, index, [reach(value, source.path) for value in values] if source.path else values
        known = (source.event, source.key, source.unit)
        if known not in self._facts:
            self._facts[known] = [read(value) for value in values]
        return rows, index, [facts.get(source.path) for facts in self._facts[known]]

    def _opened(self, source: Source) -> Opened:
        """(rows, index into values, values with JSON strings opened) under a key, or in events of a name."""
        known = (source.event, source.key)
        if known not in self._json:
            self._json[known] = self._of_events(source) if source.event else self._of_attributes(source.key)
        return self._json[known]

    def _of_attributes(self, key: str) -> Opened:
        if key in self.pseudo:
            codes, texts = self.pseudo[key]
            return np.arange(len(codes)), np.asarray(codes).astype(np.int64), texts.to_pylist()
        at = self.attributes.positions(key)
        coded = self.attributes.raw_at(at).dictionary_encode()
        codes = np.asarray(coded.indices).astype(np.int64)
        firsts = first_rows(codes, self.attributes.rows[at], len(coded.dictionary))
        raw = coded.dictionary.to_pylist()
        return self.attributes.rows[at], codes, [self._open(key, v, r) for v, r in zip(raw, firsts, strict=True)]

    def _of_events(self, source: Source) -> Opened:
        rows, values = [], []
        for row, listed in self.events.items():
            for event in listed:
                if event.name == source.event and (value := event_value(event, source.key)) is not None:
                    rows.append(row)
                    values.append(value)
        return np.array(rows, np.int64), np.arange(len(rows)), values

    def _open(self, key: str, raw: bytes, row: int) -> Any:
        value = decode_any_value(raw)
        if isinstance(value, str) and looks_like_json(value):
            value, trouble = read_json(value)
            if trouble in ("cut_json", "bad_json"):
                self.trouble.append((trouble, key, row))
        return value

    def _note_lost(self, key: str, got: int) -> None:
        at = self.attributes.positions(key)
        if got < len(at):
            rows, _ = self.attributes.integers(key)
            lost = np.setdiff1d(self.attributes.rows[at], rows)
            self.trouble += [("not_a_number", key, int(row)) for row in lost]


_INPUT = ("input_tokens", "uncached_input_tokens")
_FACTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "request": provider_objects.request_facts,
    "response": provider_objects.response_facts,
    "usage": lambda value: dict(usage_facts(value)) if isinstance(value, dict) else {},
}


def event_value(event: SpanEvent, key: str) -> Any:
    """An attribute of an event: `@time`, `@present`, under the key itself, or a map of what lies below the key."""
    if key == "@time":
        return event.time_ns
    if key == "@present":
        return True
    return lookup(event.attributes, key)


def _take(values: Any, keep: Rows) -> Any:
    return values.take(pa.array(keep)) if isinstance(values, pa.Array) else values[keep]


def matching_keys(attributes: AttributeColumns, key: str) -> list[str]:
    if "*" not in key:
        return [key] if attributes.has_key(key) else []
    pattern = re.compile(re.escape(key).replace(r"\*", r"[^.]+"))
    return attributes.keys_like(lambda name: bool(pattern.fullmatch(name)))


def first_rows(codes: Rows, rows: Rows, size: int) -> list[int]:
    """The first row of every code."""
    out = np.zeros(size, np.int64)
    out[codes[::-1]] = rows[::-1]
    return [int(row) for row in out]


def change(source: Source, text: str | None) -> str | None:
    """A text after the source's pattern and value map; None if it fills nothing."""
    if text is None:
        return None
    if source.pattern:
        found = _compiled(source.pattern).search(text)
        if not found:
            return None
        text = found[1]
    if source.values:
        return source.values.get(text.lower(), None if source.only else text)
    return text


_PATTERNS: dict[str, re.Pattern[str]] = {}


def _compiled(pattern: str) -> re.Pattern[str]:
    if pattern not in _PATTERNS:
        _PATTERNS[pattern] = re.compile(pattern)
    return _PATTERNS[pattern]


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _as_flag(source: Source, value: Any) -> bool | None:
    """A flag from a boolean, "true" or "false", or through the source's value map."""
    text = change(source, str(value)) if isinstance(value, bool | str) else None
    return {"true": True, "false": False}.get((text or "").lower())


def as_number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) < 2.0**63 else None


def _nanoseconds(value: Any) -> int:
    """A point in time from ISO 8601 or a number of seconds, milliseconds or nanoseconds; 0 if it is none."""
    number = as_number(value)
    if number:
        scale = next((s for limit, s in ((1e11, 1e9), (1e14, 1e6), (1e17, 1e3)) if number < limit), 1.0)
        return int(number * scale)
    try:
        when = dt.datetime.fromisoformat(str(value).strip('"').replace("Z", "+00:00"))
    except ValueError:
        return 0
    return int((when if when.tzinfo else when.replace(tzinfo=dt.UTC)).timestamp() * 1e9)
