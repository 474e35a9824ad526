"""The journal: an OK to a sender means that the record stands here, encrypted, and that fdatasync returned success.

`Journal` is the one writer. Requests that wait at the same time share one sync (group commit). After a failed write or
sync nothing is acknowledged from that segment any more: its descriptor is never synced again, because the kernel may
have dropped the pages and would report success; the next record opens a new segment. Each start opens a new segment
too, so a position that a reader has passed never gets other bytes, whatever a power cut left behind.

The reading side is in `spanfold.collector.journal_reader`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from spanfold.collector.errors import JournalError, JournalFull, JournalUnavailable
from spanfold.collector.journal_reader import JournalReader, trim
from spanfold.collector.lock import FileLock
from spanfold.collector.segments import (
    Ciphers,
    JournalKeys,
    JournalRecord,
    Position,
    durable_end,
    seal,
    segment_end,
    segment_numbers,
    segment_path,
)
from spanfold.exporter.durable import sync_dirs

__all__ = ["Journal", "JournalReader", "JournalRecord", "Position", "durable_end", "trim"]

T = TypeVar("T")
SEGMENT_BYTES = 64 << 20
_SMALLEST_SEGMENT = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BUFFERS_PER_WRITE = 512  # below IOV_MAX
_BYTES_PER_WRITE = 256 << 10  # for more at once Linux takes huge pages: on a virtual machine five times the CPU
_RECHECK_SECONDS = 0.2
DISK_SHARE = 0.05  # on a small disk the floor is this share of it


class _Group:
    """Frames that are written and synced together."""

    __slots__ = ("done", "error", "frames", "positions", "records", "size")

    def __init__(self) -> None:
        self.frames: list[bytearray] = []
        self.records: list[JournalRecord] = []
        self.size = 0
        self.positions: list[Position] = []
        self.error: JournalError | None = None
        self.done = threading.Event()


class Journal:
    """The one writer of a journal directory. Safe for use from many threads."""

    def __init__(
        self, directory: Path, keys: JournalKeys, *, max_bytes: int = 16 << 30, floor_bytes: int = 256 << 20,
        segment_bytes: int = SEGMENT_BYTES, first_segment: int = 1,
        on_durable: Callable[[JournalRecord], None] | None = None, acknowledged: Position | None = None,
    ) -> None:  # fmt: skip
        """Takes the writer's lock (LockHeld names its holder), validates the last segment's tail, opens a new segment.

        max_bytes: refuse when all segments together would pass it. floor_bytes: refuse when the file system has less
        free than this or 5 % of it. first_segment: lowest number to use in an empty directory. on_durable: called with
        each record as it becomes durable, one after the other, before its `append` returns; it must be quick.
        acknowledged: every record before it was, as far as is known; what is not whole there is damage and is kept.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for parent in (directory.parent, directory.parent.parent):  # a record is no safer than its directory's name
            with contextlib.suppress(PermissionError):
                sync_dirs([parent])
        self._lock = FileLock(directory.parent / "run" / "collector.lock")
        self._directory = directory
        self._ciphers = Ciphers(keys)
        self._max_bytes = max_bytes
        self._floor_bytes = floor_bytes
        self._segment_bytes = segment_bytes
        self._on_durable = on_durable
        self._state = threading.Lock()  # guards _filling
        self._commit_lock = threading.Lock()  # guards everything below
        self._filling = _Group()
        self._descriptor = -1
        self._capacity = self._offset = 0
        self._sealed_bytes = 0
        self._checked = 0.0
        self._problem: str | None = None
        self._unmet = 0  # bytes of the last group, if it was refused
        self._number = first_segment - 1
        self._durable = self._recover(acknowledged or Position(0, 0))
        with self._commit_lock, contextlib.suppress(JournalError):  # a full disk must not keep the port closed
            self._roll(0)
        self._drop_empty()

    # ---- for senders -----------------------------------------------------------------------------------------------
    def append(self, record: JournalRecord) -> Position:
        """Blocks until the record is durable; gives its position.

        Raises JournalFull or JournalUnavailable: the record is then not acknowledged and may or may not be read.
        """
        key_id, cipher = self._ciphers.current()
        frame = seal(record, key_id, cipher)
        with self._state:
            group = self._filling
            index = len(group.frames)
            group.frames.append(frame)
            group.records.append(record)
            group.size += len(frame)
        if index == 0:  # who comes first leads: it waits for the group before, then closes and commits this one
            with self._commit_lock:
                with self._state:
                    self._filling = _Group()
                self._commit(group)
        else:
            group.done.wait()
        if group.error is not None:
            raise group.error
        return group.positions[index]

    def end(self) -> Position:
        """The position that every acknowledged record precedes."""
        return self._durable

    def consistently(self, read: Callable[[], T]) -> tuple[Position, T]:
        """(`end()`, what `read` gives): `on_durable` was called for exactly the records before that position."""
        with self._commit_lock:
            return self._durable, read()

    def check(self) -> None:
        """Raises JournalError if what was refused last would be refused again; repairs what can be repaired."""
        with self._commit_lock:
            try:
                self._refuse_if_full(self._unmet)
                if self._descriptor < 0:
                    self._roll(0)
            except JournalError as error:
                self._problem = str(error)
                raise
            self._problem = None

    @property
    def problem(self) -> str | None:
        """Why the last group was refused; None after a success."""
        return self._problem

    @property
    def size(self) -> int:
        """Bytes that the journal holds on disk, the preallocated rest of the live segment not counted."""
        return self._sealed_bytes + self._offset

    def close(self) -> None:
        """Gives back the preallocated rest and the lock. Every acknowledged record was durable before."""
        with self._commit_lock:
            self._seal()
        self._lock.close()

    # ---- writing ---------------------------------------------------------------------------------------------------
    def _commit(self, group: _Group) -> None:
        try:
            self._write(group)
            self._problem, self._unmet = None, 0
        except JournalError as error:
            group.error = error
            self._problem, self._unmet = str(error), group.size
        finally:
            group.done.set()

    def _write(self, group: _Group) -> None:
        self._refuse_if_full(group.size)
        if self._descriptor < 0 or self._offset + group.size > self._capacity:
            self._roll(group.size)
        try:
            self._put(group.frames)
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._abandon()
            kind = JournalFull if error.errno in _FULL else JournalUnavailable
            raise kind(f"the journal could not be written: {error.strerror}") from error
        for frame in group.frames:
            group.positions.append(Position(self._number, self._offset))
            self._offset += len(frame)
        self._durable = Position(self._number, self._offset)
        if self._on_durable is not None:
            for record in group.records:
                self._on_durable(record)

    def _put(self, frames: list[bytearray]) -> None:
        offset = self._offset
        views = [memoryview(frame) for frame in frames]
        while views:
            written = os.pwritev(self._descriptor, _at_once(views), offset)
            offset += written
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]

    def _refuse_if_full(self, size: int) -> None:
        if self._sealed_bytes + self._offset + size > self._max_bytes:
            now = time.monotonic()
            if now - self._checked > _RECHECK_SECONDS:  # the folder may have trimmed since
                self._checked = now
                self._measure()
            if self._sealed_bytes + self._offset + size > self._max_bytes:
                raise JournalFull(
                    f"the journal holds {self.size} bytes of at most {self._max_bytes}: is `fold` running?"
                )
        free, floor = self._free()
        if free < floor:
            raise JournalFull(f"only {free} bytes are free on the disk of {self._directory}, the floor is {floor}")

    def _free(self) -> tuple[int, int]:
        """(free bytes, floor) of the file system."""
        disk = os.statvfs(self._directory)
        floor = min(self._floor_bytes, int(disk.f_blocks * disk.f_frsize * DISK_SHARE))
        return disk.f_bavail * disk.f_frsize, floor

    def _roll(self, need: int) -> None:
        """Opens the next segment with room for `need` bytes, then seals the one before."""
        free, floor = self._free()
        size = max(need, min(self._segment_bytes, max(_SMALLEST_SEGMENT, free // 8)))
        if free - size < floor:
            raise JournalFull(f"only {free} bytes are free on the disk of {self._directory}, the floor is {floor}")
        path = segment_path(self._directory, self._number + 1)
        descriptor = -1
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(descriptor, 0, size)  # so that a full disk shows here, not in the middle of a record
            os.fsync(descriptor)
            sync_dirs([self._directory])
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
                path.unlink(missing_ok=True)
            kind = JournalFull if error.errno in _FULL else JournalUnavailable
            raise kind(f"no new journal segment could be made: {error.strerror}") from error
        self._seal()
        self._descriptor, self._number, self._capacity, self._offset = descriptor, self._number + 1, size, 0
        self._durable = Position(self._number, 0)
        self._measure()

    def _seal(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):  # only gives back room
                os.ftruncate(self._descriptor, self._offset)
            os.close(self._descriptor)
            self._descriptor = -1

    def _abandon(self) -> None:
        """Leaves a segment after an error: what was acknowledged in it stays, nothing is added."""
        self._seal()
        self._capacity = self._offset = 0
        self._measure()

    def _measure(self) -> None:
        total = 0
        for number in segment_numbers(self._directory):
            if number != self._number or self._descriptor < 0:
                with contextlib.suppress(FileNotFoundError):  # trimmed meanwhile
                    total += segment_path(self._directory, number).stat().st_size
        self._sealed_bytes = total

    # ---- beginning -------------------------------------------------------------------------------------------------
    def _recover(self, acknowledged: Position) -> Position:
        """Cuts what a crash left after the last whole record of the last segment; gives that record's end. What is not
        whole before `acknowledged` was no crash: it stays for the reader to set aside."""
        numbers = segment_numbers(self._directory)
        if not numbers:
            return Position(self._number, 0)
        self._number = numbers[-1]
        path = segment_path(self._directory, self._number)
        end = segment_end(path)
        if end < path.stat().st_size and acknowledged <= (self._number, end):
            os.truncate(path, end)
        return Position(self._number, end)

    def _drop_empty(self) -> None:
        """Removes segments without a record, except the newest: the highest number must never be forgotten."""
        for number in segment_numbers(self._directory)[:-1]:
            path = segment_path(self._directory, number)
            if path.stat().st_size == 0:
                path.unlink()


def _at_once(views: list[memoryview]) -> list[memoryview]:
    """The beginning of these buffers, as much as one write takes."""
    taken, room = [], _BYTES_PER_WRITE
    for view in views[:_BUFFERS_PER_WRITE]:
        taken.append(view[:room])
        room -= len(taken[-1])
        if not room:
            break
    return taken
