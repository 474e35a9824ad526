"""Columns that are being filled: the first value offered to a row stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spanfold.semconv.dialect import FLAG_COLUMNS, INTEGER_COLUMNS, LIST_COLUMNS, NUMBER_COLUMNS
from spanfold.semconv.usage import Count
from spanfold.semconv.value_columns import Rows

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


def empty_column(name: str, length: int) -> Column:
    if name in INTEGER_COLUMNS:
        return NumberColumn(length)
    if name in NUMBER_COLUMNS:
        return NumberColumn(length, np.float64)
    if name in FLAG_COLUMNS:
        return NumberColumn(length, np.bool_)
    return ListColumn(length) if name in LIST_COLUMNS else TextColumn(length)
