"""Empties records of the journal that hold a subject of erasure. They are folded: only a replay would read them again.

A record keeps its frame, its length and its place, because the collector may be writing the same segment further on;
its body becomes one unknown field of zeros, which is a valid OTLP request that holds nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from spanfold.collector.errors import RecordDamaged
from spanfold.collector.segments import (
    Ciphers,
    Frame,
    JournalKeys,
    JournalRecord,
    Position,
    frames,
    resealed,
    segment_numbers,
    segment_path,
    unseal,
)

# trace_id stands with tag 1 in spans and links, 9 in log records, 5 in exemplars; one may begin inside another.
_TRACE_ID = re.compile(rb"(?=[\x0a\x4a\x2a]\x10(.{16}))", re.DOTALL)
_EMPTY_FIELD = 0x7A  # field 15, length-delimited: no OTLP request has it


class Holds:
    """Asks of a record whether it names the subject: one of its traces, or its identifier as a whole text value."""

    def __init__(self, tenant: str, traces: Collection[str], names: Collection[str]) -> None:
        self._tenant = tenant
        self._traces = {bytes.fromhex(trace) for trace in traces}
        self._names = [b"\x0a" + _varint(len(raw)) + raw for raw in (name.encode() for name in names)]

    def __call__(self, record: JournalRecord) -> bool:
        if record.tenant != self._tenant:
            return False
        if any(name in record.body for name in self._names):
            return True
        return bool(self._traces) and any(found in self._traces for found in _TRACE_ID.findall(record.body))


def empty_records(directory: Path, keys: JournalKeys, folded: Position, holds: Holds, *, dry_run: bool = False) -> int:
    """Empties the records before `folded` that hold the subject, durably. Gives how many there were."""
    ciphers, count = Ciphers(keys), 0
    for number in segment_numbers(directory):
        if number > folded.segment:
            break
        path = segment_path(directory, number)
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # trimmed meanwhile
            continue
        ending = folded.offset if number == folded.segment else len(data)
        found = [frame for frame in frames(data) if frame.end <= ending and _asks(frame, data, ciphers, holds)]
        count += len(found)
        if found and not dry_run:
            _empty(path, data, found, ciphers)
    return count


def _asks(frame: Frame, data: bytes, ciphers: Ciphers, holds: Holds) -> bool:
    try:
        return holds(_record(frame, data, ciphers))
    except RecordDamaged:
        return False


def _record(frame: Frame, data: bytes, ciphers: Ciphers) -> JournalRecord:
    return unseal(frame.header, data[frame.offset : frame.end], ciphers)


def _empty(path: Path, data: bytes, found: list[Frame], ciphers: Ciphers) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for frame in found:
            record = _record(frame, data, ciphers)
            emptied = replace(record, body=padding(len(record.body)))
            os.pwrite(descriptor, resealed(emptied, frame.header, ciphers), frame.offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def padding(size: int) -> bytes:
    """A protobuf message of exactly this many bytes (0, or 2 and more) without a field that OTLP knows."""
    if size < 2:
        return b""
    for width in range(1, 6):
        length = size - 1 - width
        if 0 <= length < 1 << (7 * width):
            return bytes([_EMPTY_FIELD]) + _varint(length, width) + bytes(length)
    raise ValueError(f"no field of a request has {size} bytes")


def _varint(value: int, width: int = 0) -> bytes:
    """A protobuf varint, of at least `width` bytes."""
    width = max(width, -(-value.bit_length() // 7), 1)
    return bytes((value >> (7 * i)) & 0x7F | (0x80 if i < width - 1 else 0) for i in range(width))
