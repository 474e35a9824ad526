"""Reading a journal that another process may be writing.

What is not whole at the end of the newest segment is not there yet. What is not whole anywhere else is damage: its
bytes go to `quarantine/` beside the journal, are counted, and reading goes on at the next whole record.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from spanfold.collector.errors import RecordDamaged
from spanfold.collector.segments import (
    HEADER_BYTES,
    SIGNALS,
    Bodies,
    Ciphers,
    Header,
    JournalKeys,
    JournalRecord,
    Position,
    frames,
    is_whole,
    parse_header,
    resync,
    segment_numbers,
    segment_path,
    unseal,
)

STUCK_SECONDS = 1.0
ITEMS_AT_ONCE = 48_000  # small spans become rows that take more room than their bytes


@dataclass(slots=True)
class _Chunk:
    """Records read so far, and how many bytes of payload they may have."""

    max_bytes: int
    bodies: Bodies | None
    bytes: int = 0
    items: int = 0
    records: list[tuple[Position, JournalRecord]] = field(default_factory=list)

    def takes(self, header: Header) -> bool:
        """At least one record, however large."""
        fits = self.bytes + header.length <= self.max_bytes and self.items + header.items <= ITEMS_AT_ONCE
        return fits or not self.records

    def add(self, position: Position, header: Header, record: JournalRecord) -> None:
        self.records.append((position, record))
        self.bytes += header.length
        self.items += header.items


class JournalReader:
    """Tails a journal directory. One per process and thread."""

    def __init__(self, directory: Path, keys: JournalKeys) -> None:
        self._directory = directory
        self._ciphers = Ciphers(keys)
        self._open: tuple[int, int] | None = None  # (segment number, descriptor)
        self._stuck = (Position(-1, -1), 0.0)
        self.damaged = 0  # pieces of the journal set aside by this reader

    def read(
        self, position: Position, max_bytes: int, bodies: Bodies | None = None
    ) -> tuple[list[tuple[Position, JournalRecord]], Position]:
        """Records from `position` on, as many as fit in `max_bytes` and ITEMS_AT_ONCE (at least one), and where to read
        next. `bodies` takes those of trace requests out of them.

        Raises RecordTooNew, and what the keyring raises when a key is lost: nothing is skipped then.
        """
        chunk = _Chunk(max_bytes, bodies)
        while True:
            numbers = segment_numbers(self._directory)  # listed before reading: a segment with a successor is finished
            position = _reachable(position, numbers)
            newest = not numbers or position.segment >= numbers[-1]
            position, full = self._fill(chunk, position)
            after = None if full else self._past_gap(position, newest)
            if after is None:
                return chunk.records, position
            position = after

    def close(self) -> None:
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

    # ---- one segment -----------------------------------------------------------------------------------------------
    def _fill(self, chunk: _Chunk, position: Position) -> tuple[Position, bool]:
        """Takes records up to the first place that is no whole frame. Says where it stopped and whether for size."""
        while (header := self._header(position)) is not None:
            if not chunk.takes(header):
                return position, True
            descriptor = self._descriptor(position.segment)
            raw = os.pread(descriptor, header.frame_bytes, position.offset)
            if len(raw) < header.frame_bytes:
                break
            if chunk.bodies is not None:  # read once: its pages are better used for what comes next
                os.posix_fadvise(descriptor, position.offset, header.frame_bytes, os.POSIX_FADV_DONTNEED)
            try:  # the tag says more than the checksum, and is looked at anyway
                chunk.add(position, header, unseal(header, raw, self._ciphers, chunk.bodies))
            except RecordDamaged:
                if not is_whole(header, memoryview(raw)):
                    break
                self._set_aside(position, raw)
            position = Position(position.segment, position.offset + header.frame_bytes)
        return position, False

    def _header(self, position: Position) -> Header | None:
        descriptor = self._descriptor(position.segment)
        return parse_header(os.pread(descriptor, HEADER_BYTES, position.offset)) if descriptor >= 0 else None

    def _descriptor(self, number: int) -> int:
        """The segment's descriptor, -1 if it does not exist."""
        if self._open is not None and self._open[0] == number:
            return self._open[1]
        self.close()
        try:
            descriptor = os.open(segment_path(self._directory, number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1
        self._open = (number, descriptor)
        return descriptor

    # ---- what is no frame ------------------------------------------------------------------------------------------
    def _past_gap(self, position: Position, newest: bool) -> Position | None:
        """Where to go on from a place that is no whole frame; None to wait there."""
        if newest and not self._is_stuck(position):
            return None
        rest = self._rest(position)  # nothing, where a power cut took bytes that were read before they were synced
        found = resync(rest, 0)
        if found is None and newest:
            self._stuck = (position, time.monotonic())
            return None
        bad = rest[: found.offset] if found is not None else rest.rstrip(b"\0")
        if bad:
            self._set_aside(position, bad)
        if found is not None:
            return Position(position.segment, position.offset + found.offset)
        return Position(position.segment + 1, 0)

    def _rest(self, position: Position) -> bytes:
        descriptor = self._descriptor(position.segment)
        return _after(descriptor, position.offset) if descriptor >= 0 else b""

    def _is_stuck(self, position: Position) -> bool:
        """Whether bytes that are no whole frame have stood here for longer than any write takes."""
        descriptor = self._descriptor(position.segment)
        head = os.pread(descriptor, HEADER_BYTES, position.offset) if descriptor >= 0 else b""
        if not any(head):
            return False
        if self._stuck[0] != position:
            self._stuck = (position, time.monotonic())
        return time.monotonic() - self._stuck[1] > STUCK_SECONDS

    def _set_aside(self, position: Position, raw: bytes) -> None:
        """Keeps damaged bytes (still encrypted) for a person to look at."""
        directory = self._directory.parent / "quarantine"
        directory.mkdir(exist_ok=True, mode=0o700)
        path = directory / f"journal-{position.segment:010d}-{position.offset}.bin"
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(raw)
        temporary.rename(path)
        self.damaged += 1


def damage(path: Path, *, newest: bool) -> list[tuple[int, int]]:
    """(offset, bytes) of what is no whole frame in a segment. Zeros at its end are room that was never used; at the end
    of the newest segment anything may be a record that is being written."""
    data = path.read_bytes()
    found, end = [], 0
    for frame in frames(data):
        if frame.offset > end:
            found.append((end, frame.offset - end))
        end = frame.end
    rest = data[end:].rstrip(b"\0")
    if rest and not newest:
        found.append((end, len(rest)))
    return found


def _reachable(position: Position, numbers: list[int]) -> Position:
    """The position itself, or the start of the next segment that exists."""
    if not numbers or position.segment in numbers:
        return position
    later = [number for number in numbers if number > position.segment]
    return Position(later[0], 0) if later else position


def trim(directory: Path, folded: Position, keep_seconds: float, keep_bytes: int) -> int:
    """Removes segments that lie wholly before `folded`, oldest first, when they are older than `keep_seconds` or all
    segments together are over `keep_bytes`. Never the newest: its number must not be given again. Gives their number.
    """
    stats = [(number, segment_path(directory, number).stat()) for number in segment_numbers(directory)]
    total = sum(stat.st_size for _, stat in stats)
    removed = 0
    for number, stat in stats[:-1]:
        if number >= folded.segment or (time.time() - stat.st_mtime <= keep_seconds and total <= keep_bytes):
            break
        with contextlib.suppress(FileNotFoundError):
            segment_path(directory, number).unlink()
        total -= stat.st_size
        removed += 1
    return removed


@dataclass(slots=True)
class Backlog:
    """What stands in a journal from a position on."""

    items: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIGNALS, 0))
    requests: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIGNALS, 0))
    bytes: int = 0
    oldest_ns: int | None = None  # time of receipt of the first record


def backlog(directory: Path, position: Position) -> Backlog:
    """Counts records by their headers alone: no key, and no byte of the bodies is read. Damage is passed over."""
    found = Backlog()
    numbers = segment_numbers(directory)
    position = _reachable(position, numbers)
    for number in (n for n in numbers if n >= position.segment):
        begin = position.offset if number == position.segment else 0
        for _, header in _headers(segment_path(directory, number), begin):
            found.items[header.signal] += header.items
            found.requests[header.signal] += 1 if header.items else 0  # a replayed record was counted when it came
            found.bytes += header.frame_bytes
            found.oldest_ns = found.oldest_ns or header.received_ns
    return found


def headers(directory: Path) -> Iterator[tuple[Position, Header]]:
    """Every record that a journal still holds, by its header alone."""
    for number in segment_numbers(directory):
        for offset, header in _headers(segment_path(directory, number), 0):
            yield Position(number, offset), header


def _headers(path: Path, offset: int) -> Iterator[tuple[int, Header]]:
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:  # trimmed meanwhile
        return
    with file:
        while True:
            raw = os.pread(file.fileno(), HEADER_BYTES, offset)
            header = parse_header(raw)
            if header is None:
                again = resync(_after(file.fileno(), offset), 0) if any(raw) else None
                if again is None:
                    return
                offset, header = offset + again.offset, again.header
            yield offset, header
            offset += header.frame_bytes


def _after(descriptor: int, offset: int) -> bytes:
    return os.pread(descriptor, max(0, os.fstat(descriptor).st_size - offset), offset)
