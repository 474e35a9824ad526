"""Snapshots for readers: which one they have, and when the next is due."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from spanfold.analytics.prices import PriceBook
from spanfold.analytics.rollup import RollUp
from spanfold.analytics.snapshot import Publisher
from spanfold.exporter.manifest import Manifest

PUBLISH_SECONDS = 2.0  # while a backlog is folded, readers see it at least this often


class Publishing:
    """Makes manifests readable, each once. For one thread at a time."""

    def __init__(self, data: Path, roll_up: RollUp) -> None:
        self._publisher, self._roll_up = Publisher(data), roll_up
        self._published: tuple[int, tuple[int, ...], str] = (-1, (), "")  # manifest, state copies, price book
        self._at = 0.0
        self.newest: str | None = None  # name of the newest snapshot

    @property
    def version(self) -> int:
        """Of the manifest that readers see; -1 before this process published one."""
        return self._published[0]

    @property
    def is_due(self) -> bool:
        """Should readers see more, though there is a backlog?"""
        return time.monotonic() - self._at > PUBLISH_SECONDS

    def publish(
        self, manifest: Manifest, book: PriceBook, copies: Mapping[str, pa.Table], *, again: bool = False
    ) -> None:
        """Makes this readable unless it is already (`again`: even then). `copies`: of the state, see `StateStore`.
        Raises what DuckDB raises of a file that cannot be read."""
        now = manifest.version, tuple(map(id, copies.values())), book.version
        if now != self._published or again:
            models = self._roll_up.seen if self.version >= 0 else None
            self.newest = self._publisher.publish(manifest, book, copies, models=models).name
            self._published, self._at = now, time.monotonic()

    def close(self) -> None:
        self._publisher.close()
