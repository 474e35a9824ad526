"""Columns of a batch filled by rules: a rule reads one key for the whole batch, and the first value of a row wins.

Nothing here loops over spans, except over unique values where a pattern, a value map or a JSON path is asked for.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spanfold.semconv import provider_objects
from spanfold.semconv.anyvalue import decode_any_value
from spanfold.semconv.dialect import FLAG_COLUMNS, INTEGER_COLUMNS, LIST_COLUMNS, NUMBER_COLUMNS, Source
from spanfold.semconv.loose_json import looks_like_json, opened, read_json
from spanfold.semconv.provider_usage import usage_facts
from spanfold.semconv.records import AttributeColumns, SpanEvent
from spanfold.semconv.usage import Count
from spanfold.semconv.value_columns import STRING, Rows

Mask = NDArray[np.bool_]


@dataclass(slots=True)
class TextColumn:
    """Texts of one column: `index[row]` points into the pieces laid end to end; -1 = not filled yet."""

    length: int
    index: Rows = field(init=False)
    pieces: list[Any] = field(default_factory=list)
    size: int = 0

    def __post_init__(self) -> None:
        self.index = np.full(self.length, -1, np.int64)

    def offer(self, rows: Rows, values: Any) -> None:
        """Fills the rows that are still empty; an empty or NULL text fills nothing."""
        if len(rows) == 0:
            return
        lengths = np.asarray(pc.fill_null(pc.binary_length(values), 0))
        free = (self.index[rows] < 0) & (lengths > 0)
        if not free.any():
            return
        at = np.flatnonzero(free)
        self.index[rows[at]] = at + self.size
        self.pieces.append(values)
        self.size += len(values)

    @property
    def filled(self) -> Mask:
        return self.index >= 0

    def array(self, kind: pa.DataType | None = None) -> pa.Array:
        kind = kind or pa.string()
        if not self.pieces:
            return pa.nulls(self.length, kind)
        merged = pa.concat_arrays([piece.cast(kind) for piece in self.pieces])
        if self.size == self.length and bool((self.index == np.arange(self.length)).all()):
            return merged
        return merged.take(pa.array(self.index, mask=self.index < 0))


@dataclass(slots=True)
class NumberColumn:
    """Numbers or flags of one column, with where they are known."""

    length: int
    kind: Any = np.int64
    numbers: NDArray[Any] = field(init=False)
    known: Mask = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = np.zeros(self.length, self.kind)
        self.known = np.zeros(self.length, np.bool_)

    def offer(self, rows: Rows, values: NDArray[Any]) -> None:
        free = ~self.known[rows]
        if free.any():
            self.numbers[rows[free]] = values[free]
            self.known[rows[free]] = True

    @property
    def filled(self) -> Mask:
        return self.known

    def array(self) -> pa.Array:
        return pa.array(self.numbers, mask=~self.known)

    def count(self) -> Count:
        return Count(self.numbers, self.known)


@dataclass(slots=True)
class ListColumn:
    """Lists of texts; few distinct ones."""

    length: int
    index: Rows = field(init=False)
    values: dict[tuple[str, ...], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.index = np.full(self.length, -1, np.int64)

    def offer(self, rows: Rows, values: Sequence[tuple[str, ...]]) -> None:
        codes = np.array([self.values.setdefault(v, len(self.values)) if v else -1 for v in values], np.int64)
        self.offer_codes(rows, codes)

    def offer_codes(self, rows: Rows, codes: Rows) -> None:
        free = (self.index[rows] < 0) & (codes >= 0)
        self.index[rows[free]] = codes[free]

    @property
    def filled(self) -> Mask:
        return self.index >= 0

    def mapped(self, change_text: Callable[[str], str]) -> ListColumn:
        """The same rows with every text changed."""
        out = ListColumn(self.length)
        codes = [out.values.setdefault(tuple(map(change_text, v)), len(out.values)) for v in self.values]
        out.index = np.array([*codes, -1], np.int64)[self.index]
        return out

    def array(self) -> pa.Array:
        kind = pa.list_(pa.field("element", pa.string()))
        values = pa.array([list(v) for v in self.values], kind)
        if not len(values):
            return pa.nulls(self.length, kind)
        return values.take(pa.array(self.index, mask=self.index < 0))


Column = TextColumn | NumberColumn | ListColumn
Opened = tuple[Rows, Rows, list[Any]]  # rows, index of each into the values, values


def empty_column(name: str, length: int) -> Column:
    if name in INTEGER_COLUMNS:
        return NumberColumn(length)
    if name in NUMBER_COLUMNS:
        return NumberColumn(length, np.float64)
    if name in FLAG_COLUMNS:
        return NumberColumn(length, np.bool_)
    return ListColumn(length) if name in LIST_COLUMNS else TextColumn(length)


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

    def column(self, name: str) -> Column:
        if name not in self.columns:
            self.columns[name] = empty_column(name, self.attributes.length)
        return self.columns[name]

    def has(self, source: Source) -> bool:
        if source.event:
            if self._event_names is None:
                self._event_names = frozenset(event.name for listed in self.events.values() for event in listed)
            return source.event in self._event_names
        return source.key in self.pseudo or self.attributes.has_key(source.key)

    def fill(self, name: str, source: Source, allowed: Mask | None) -> None:
        """Offers the values under one source to a column; `allowed` are the rows that speak this dialect."""
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
        column.offer(rows, values)

    # ---- texts -----------------------------------------------------------------------------------------------------
    def _texts(self, source: Source) -> tuple[Rows, Any]:
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
        tags = self.attributes.tags[at]
        plain = at[tags == STRING]
        if len(plain) == len(at):
            return self.attributes.rows[at], self._mapped(source, self.attributes.text_at(at))
        other = at[tags != STRING]
        told = pa.array([_as_text(v) for v in self.attributes.decode(other)], pa.string())
        rows = np.concatenate([self.attributes.rows[plain], self.attributes.rows[other]])
        return rows, self._mapped(source, pa.concat_arrays([self.attributes.text_at(plain), told]))

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
        good = np.isfinite(doubles)
        return rows[good], doubles[good] * source.scale

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
        texts = []
        for item in _flat(value):
            if isinstance(item, str | int) and (text := change(source, str(item))):
                texts.append(text)
        return tuple(texts)

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
            self.trouble += [("not_a_number", key, int(row)) for row in lost[:1]]


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


def lookup(attributes: Mapping[str, Any], key: str) -> Any:
    """The value under a key, or a map of what lies below it (`response.raw.id` below `response.raw`)."""
    if key in attributes:
        return opened(attributes[key])
    prefix = key + "."
    below = {k[len(prefix) :]: opened(v) for k, v in attributes.items() if k.startswith(prefix)}
    return unflatten(below) if below else None


def unflatten(entries: Mapping[str, Any]) -> Any:
    """`{"0.message.role": "user", "0.message.content": "hi"}` -> `[{"message": {"role": "user", "content": "hi"}}]`.

    Positions order a list; a missing position is left out (an SDK's attribute cap drops the oldest)."""
    root: dict[str, Any] = {}
    for path, value in entries.items():
        node, steps = root, path.split(".")
        for step in steps[:-1]:
            inner = node.get(step)
            if not isinstance(inner, dict):
                inner = node[step] = {} if inner is None else {"": inner}
            node = inner
        if isinstance(node.get(steps[-1]), dict):
            node[steps[-1]][""] = value
        else:
            node[steps[-1]] = value
    return _listed(root)


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(step.isdigit() for step in node):
        return [_listed(node[step]) for step in sorted(node, key=int)]
    return {step: _listed(inner) for step, inner in node.items()}


def _take(values: Any, keep: Rows) -> Any:
    return values.take(pa.array(keep)) if isinstance(values, pa.Array) else values[keep]


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


def reach(value: Any, path: str) -> Any:
    """The value at a path of names, positions and `*` separated by `/`; None where there is nothing. Strings that
    hold JSON are opened on the way. `*` gives a list of what lies below, in order."""
    for at, step in enumerate(path.split("/") if path else ()):
        if isinstance(value, str) and looks_like_json(value):
            value = read_json(value)[0]
        if step == "*":
            rest = "/".join(path.split("/")[at + 1 :])
            found = [reach(item, rest) for item in value] if isinstance(value, list) else []
            return [item for item in found if item is not None]
        if isinstance(value, list) and step.lstrip("-").isdigit() and -len(value) <= int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return value


def first(value: Any) -> Any:
    while isinstance(value, list):
        value = value[0] if value else None
    return value


def _flat(value: Any) -> Iterable[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    elif value is not None:
        yield value


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _as_flag(source: Source, value: Any) -> bool | None:
    """A flag from a boolean, "true" or "false", or through the source's value map."""
    text = str(value).lower() if isinstance(value, bool | str) else ""
    text = source.values.get(text, text)
    return {"true": True, "false": False}.get(text)


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
