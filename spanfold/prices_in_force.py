"""The prices in force, and rollups that hold the cost by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import duckdb

from spanfold import pricing
from spanfold.analytics.rollup import RollUp
from spanfold.exporter.lake import SUMS_DUE, Lake
from spanfold.state.store import StateStore


class PricesInForce:
    """Follows the control plane's prices. `settle` waits for commits that are under way, `publish` makes the newest
    manifest readable, `set_aside` takes damaged files out of the lake and says whether there were any."""

    def __init__(
        self, lake: Lake, state: StateStore, snapshot: Path, settle: Callable[[], None], publish: Callable[[], None],
        set_aside: Callable[[Iterable[str]], bool],
    ) -> None:  # fmt: skip
        pricing.keep_first_book(state)
        self._lake, self._state, self._snapshot = lake, state, snapshot
        self._settle, self._publish, self._set_aside = settle, publish, set_aside
        self._revision: tuple[int, int] | None = state.price_sources.revision()
        self.book = pricing.load_book(state)
        self.roll_up = RollUp(self.book)

    @property
    def first_name(self) -> str | None:
        """Of the book, for the commit of the first rollups; None when there are some."""
        return None if self._has_rollups else pricing.name_of(self.book)

    @property
    def rollups_fit(self) -> bool:
        """Do the stored rollups hold the cost by the book in force?"""
        return self._lake.manifest.priced_by == pricing.name_of(self.book) or not self._has_rollups

    @property
    def _has_rollups(self) -> bool:
        manifest = self._lake.manifest
        return manifest.priced_by == SUMS_DUE or any(file.table == "rollup" for file in manifest.files)

    def refresh(self) -> bool:
        """Takes over changed prices: calls are priced when read, the rollups of what changed get the difference."""
        if not self.rollups_fit:  # the process ended in between, or an upgrade counts otherwise
            self.rebuild()
        revision = self._state.price_sources.revision()
        if revision == self._revision:
            return False
        book, self._revision = pricing.load_book(self._state), revision
        if book.version == self.book.version:
            return False
        self._settle()
        self._publish()
        try:
            changes = pricing.rollup_changes(self._snapshot, self.book, book)
            files = [self._lake.write("rollup", day, rows) for day, rows in changes]
        except duckdb.Error:  # of a file that cannot be read
            if not self._set_aside(file.path for file in self._lake.manifest.files):
                raise
            self._revision = None  # once more at the next look, without that file
            return False
        self.book = book
        self.roll_up.price_by(book)
        self._lake.commit(files, priced_by=pricing.name_of(book))
        self._publish()
        return True

    def rebuild(self) -> None:
        """Computes every rollup row from the stored calls; what the deltas had added up to is replaced."""
        self._settle()
        self._publish()
        manifest = self._lake.manifest
        try:
            rolled = list(pricing.all_rollups(self._snapshot, manifest.dates("spans"), self.book))
        except duckdb.Error:  # of a file that cannot be read
            if not self._set_aside(file.path for file in manifest.files):
                raise
            return
        added = [self._lake.write("rollup", day, rows) for day, rows in rolled]
        self._lake.commit(added, removed=manifest.paths("rollup"), priced_by=pricing.name_of(self.book))
        self._publish()
