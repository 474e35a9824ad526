"""SQL over stored files of one table, whatever release wrote them: a file lacks the columns that were added later.

Files are read in groups of equal columns, what is missing is NULL. (`union_by_name` would open every file for every
query, and still knows no column that all of them lack.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spanfold.exporter.manifest import FileEntry, Manifest
from spanfold.semconv.schema import TABLES

Lacking = frozenset[str]  # columns of today's schema that a file does not have
COMPLETE: Lacking = frozenset()
_TYPES = {
    "string": "VARCHAR", "int64": "BIGINT", "int32": "INTEGER", "uint8": "UTINYINT", "uint16": "USMALLINT",
    "uint32": "UINTEGER", "uint64": "UBIGINT", "bool": "BOOLEAN", "double": "DOUBLE", "timestamp[us]": "TIMESTAMP",
    "date32[day]": "DATE", "time64[us]": "TIME",
}  # fmt: skip


class Columns:
    """Which columns the files of a data directory lack. What this process commits itself lacks none: only the files of
    the first manifest that it meets are looked at, their footers once each."""

    def __init__(self, data: Path) -> None:
        self._data = data.resolve()
        self._first: int | None = None
        self._lacking: dict[str, Lacking] = {}

    def met(self, manifest: Manifest) -> None:
        """Says, before files are asked for, where the history of this process begins (version 0: not yet)."""
        if self._first is None and manifest.version:
            self._first = manifest.version

    def groups(self, table: str, files: Iterable[FileEntry]) -> dict[Lacking, list[str]]:
        """Absolute paths by what they lack."""
        out: dict[Lacking, list[str]] = defaultdict(list)
        for file in files:
            out[self._lacks(table, file)].append(str(self._data / file.path))
        return out

    def _lacks(self, table: str, file: FileEntry) -> Lacking:
        if self._first is not None and file.created > self._first:
            return COMPLETE
        known = self._lacking.get(file.path)
        if known is None:
            known = self._lacking[file.path] = _read_lacking(table, self._data / file.path)
        return known


def select(table: str, groups: Mapping[Lacking, Sequence[str]], columns: Sequence[str] | None = None) -> str:
    """A SELECT of `date` and the columns (None = all) of these files; without files it is typed and empty."""
    names = TABLES[table].names if columns is None else columns
    parts = [_select(table, names, lacking, paths) for lacking, paths in sorted(groups.items(), key=_order)]
    return " UNION ALL ".join(parts) or f"SELECT NULL::DATE AS date, {_columns(table, names, set(names))} WHERE false"


def duckdb_type(arrow: pa.DataType) -> str:
    """The DuckDB name of a stored type."""
    if pa.types.is_list(arrow):
        return f"{duckdb_type(arrow.value_type)}[]"
    if pa.types.is_fixed_size_binary(arrow) or pa.types.is_binary(arrow):
        return "BLOB"
    if pa.types.is_decimal(arrow):
        return f"DECIMAL({arrow.precision}, {arrow.scale})"
    return _TYPES[str(arrow)]


def _select(table: str, names: Sequence[str], lacking: Lacking, paths: Sequence[str]) -> str:
    files = ", ".join(_literal_path(path) for path in paths)
    return (
        f"SELECT date, {_columns(table, names, lacking)} "
        f"FROM read_parquet([{files}], hive_partitioning = true, hive_types = {{'date': DATE}})"
    )


def _columns(table: str, names: Sequence[str], lacking: Iterable[str]) -> str:
    gone = set(lacking)
    schema = TABLES[table]
    return ", ".join(
        f'NULL::{duckdb_type(schema.field(name).type)} AS "{name}"' if name in gone else f'"{name}"' for name in names
    )


def _order(group: tuple[Lacking, Sequence[str]]) -> tuple[int, list[str]]:
    return len(group[0]), sorted(group[0])


def _read_lacking(table: str, path: Path) -> Lacking:
    """Of a file that cannot be read nothing is known: whoever reads its rows says what is wrong with it."""
    try:
        found = pq.read_schema(path).names
    except (OSError, pa.ArrowInvalid):
        return COMPLETE
    return frozenset(TABLES[table].names) - frozenset(found)


def _literal_path(path: str) -> str:
    """A path as a string literal in which DuckDB finds no glob."""
    for character in "[*?":
        path = path.replace(character, "\0" + character)
    for character in "[*?":
        path = path.replace("\0" + character, f"[{character}]")
    return "'" + path.replace("'", "''") + "'"
