"""Looks for words under a directory as a thief with its files but without its keys would: raw bytes, every frame that
inflates, every column of every Parquet file, every table and view of every database, in several encodings."""

from __future__ import annotations

import base64
import contextlib
import re
import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import zstandard

_FRAME = re.compile(rb"\x28\xb5\x2f\xfd|\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
_MOST = 64 << 20  # bytes that one frame may inflate to


class Search:
    """Finds words that all begin with `prefix`. `found`: word -> where it stands, and in which form."""

    def __init__(self, prefix: str, words: Sequence[str]) -> None:
        self._words = words
        self._prefixes = list(_forms(prefix))
        self.found: dict[str, set[str]] = defaultdict(set)

    def tree(self, root: Path) -> Search:
        """Searches every file under `root`, newest databases with all their views."""
        newest = max(root.rglob("v*.duckdb"), key=lambda path: path.stat().st_mtime_ns, default=None)
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            name = str(path.relative_to(root))
            self.bytes(path.read_bytes(), name)
            if path.suffix == ".parquet":
                self.rows(pq.read_table(path, partitioning=None).to_pylist(), name)
            elif path.suffix == ".duckdb":
                for title, rows in _duckdb_rows(path, views=path == newest):
                    self.rows(rows, f"{name}:{title}")
            elif path.suffix == ".db":
                for title, rows in _sqlite_rows(path):
                    self.rows(rows, f"{name}:{title}")
        return self

    def rows(self, rows: Sequence[Any], where: str) -> None:
        for value in _leaves(rows):
            if isinstance(value, bytes):
                self.bytes(value, where)
            else:
                self._match(str(value).encode(), where)

    def bytes(self, raw: bytes, where: str) -> None:
        """The bytes themselves and whatever inflates in them."""
        self._match(raw, where)
        for match in _FRAME.finditer(raw):
            inflated = _inflated(raw, match.start())
            if inflated:
                self._match(inflated, f"{where} inflated")

    def _match(self, raw: bytes, where: str) -> None:
        if not any(form in raw for form in self._prefixes):
            return
        for word in self._words:
            for form in _forms(word):
                if form in raw:
                    self.found[word].add(where)


def _forms(word: str) -> Iterator[bytes]:
    """How a word may stand in bytes: as it is, in UTF-16, in hex, in base64 at each of its three places."""
    plain = word.encode()
    yield plain
    yield word.encode("utf-16-le")
    yield plain.hex().encode()
    yield plain.hex().upper().encode()
    for shift in range(3):
        whole = base64.b64encode(bytes(shift) + plain)
        yield whole[-(-shift * 4 // 3) : len(whole) - 4]


def _inflated(raw: bytes, start: int) -> bytes:
    with contextlib.suppress(zstandard.ZstdError, zlib.error):
        if raw[start] == 0x28:
            return zstandard.ZstdDecompressor().decompressobj().decompress(raw[start:])
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(raw[start:], _MOST)
    return b""


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif value is not None:
        yield value


def _duckdb_rows(path: Path, *, views: bool) -> Iterator[tuple[str, list[Any]]]:
    """Every table; with `views` also what each view says, and what macros and views are made of."""
    with duckdb.connect(str(path), read_only=True) as connection:
        kinds = ("BASE TABLE", "VIEW") if views else ("BASE TABLE",)
        names = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type IN (SELECT unnest(?))",
            [list(kinds)],
        ).fetchall()
        for schema, name in names:
            yield f"{schema}.{name}", connection.execute(f'SELECT * FROM "{schema}"."{name}"').fetchall()
        yield "definitions", connection.execute("SELECT sql FROM duckdb_views()").fetchall()


def _sqlite_rows(path: Path) -> Iterator[tuple[str, list[Any]]]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            yield name, connection.execute(f'SELECT * FROM "{name}"').fetchall()
