"""Small files become large ones beside the folding: prepared in a thread that steps back, committed by the folding."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from spanfold.exporter import compact, repack
from spanfold.exporter.errors import FileDamaged
from spanfold.exporter.keys import Keyring
from spanfold.exporter.lake import Lake
from spanfold.exporter.manifest import FileEntry


class Merging:
    """One merge at a time. `settle_commit` waits for a commit of the folding that is under way; `set_aside` takes
    damaged files out of the lake."""

    def __init__(
        self, lake: Lake, keyring: Keyring, content: str, settle_commit: Callable[[], None],
        set_aside: Callable[[Iterable[str]], object],
    ) -> None:  # fmt: skip
        self._lake, self._keyring, self._content = lake, keyring, content
        self._settle_commit, self._set_aside = settle_commit, set_aside
        self._merger = ThreadPoolExecutor(1, initializer=_step_back)
        self._merging: tuple[compact.Merge, Future[FileEntry]] | None = None

    def merge_some(self) -> None:
        """Commits the merge that is finished, and begins the next one that is due."""
        if self._merging is not None:
            if not self._merging[1].done():
                return
            self._settle_commit()
            self.settle()
        work = next(iter(compact.due(self._lake.manifest)), None)
        if work is not None:
            self._merging = (work, self._merger.submit(compact.merge, self._lake, work))

    def merge_everything(self) -> None:
        """Every table and day into as few files as may be, words repacked. Damaged files are set aside on the way."""
        self._settle_commit()
        self.settle()
        while (work := compact.due(self._lake.manifest, everything=True)) or repack.days_to_repack(self._lake):
            try:
                for one in work:
                    self._commit(one, compact.merge(self._lake, one))
                for day in repack.days_to_repack(self._lake):
                    packed = repack.repack(self._lake, self._keyring, self._content, day)
                    self._lake.commit(packed.added, removed=packed.removed)
                return
            except FileDamaged as error:
                self._set_aside([error.path])

    def settle(self) -> None:
        """Commits the merge that is under way, when it is done; sets the file aside that forbids it."""
        if self._merging is None:
            return
        work, merging = self._merging
        self._merging = None
        try:
            self._commit(work, merging.result())
        except FileDamaged as error:
            self._set_aside([error.path])

    def close(self) -> None:
        self._merger.shutdown()

    def _commit(self, work: compact.Merge, merged: FileEntry) -> None:
        self._lake.commit([self._lake.adopt(merged)], removed=[file.path for file in work.files])


def _step_back() -> None:
    """Gives this thread what processor time the others leave (Linux sets niceness by thread)."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
