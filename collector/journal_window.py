"""The requests that the journal still holds, found by the time at which they were accepted: spans and logs as sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spanfold.collector.journal_reader import JournalReader, headers
from spanfold.collector.segments import JournalKeys, JournalRecord, Position


@dataclass(slots=True)
class _Held:
    """The records of one microsecond."""

    positions: list[Position] = field(default_factory=list)
    bytes: int = 0
    spans: int = 0


class JournalWindow:
    """What the journal held when this was made; who folds may trim it meanwhile."""

    def __init__(self, directory: Path, keys: JournalKeys) -> None:
        self._reader = JournalReader(directory, keys)
        self._held: dict[int, _Held] = defaultdict(_Held)
        self._logs: dict[int, list[Position]] = defaultdict(list)
        for position, header in headers(directory):
            if header.signal == "traces":
                held = self._held[header.received_ns // 1000]
                held.positions.append(position)
                held.bytes += header.length
                held.spans += max(header.items, 1)
            elif header.signal == "logs":
                self._logs[header.received_ns // 1000].append(position)

    def records(self, times: Collection[int]) -> list[JournalRecord]:
        """The trace requests accepted at these times (microseconds since 1970), in the order in which they came."""
        positions = [position for at in times if at in self._held for position in self._held[at].positions]
        return [record for _, record in self._read(positions)]

    def logs(self, times: Collection[int]) -> list[tuple[Position, JournalRecord]]:
        """The log requests accepted at these times."""
        return self._read([position for at in times if at in self._logs for position in self._logs[at]])

    def _read(self, positions: Sequence[Position]) -> list[tuple[Position, JournalRecord]]:
        asked = set(positions)
        return [entry for at in sorted(asked) for entry in self._reader.read(at, 0)[0] if entry[0] in asked]

    def bytes_of(self, times: Sequence[int]) -> NDArray[np.float64]:
        """About how many bytes of its request each of these spans is; 0 where the request is gone."""
        known = {at: held.bytes / held.spans for at, held in self._held.items()}
        return np.array([known.get(at, 0.0) for at in times], np.float64)

    def close(self) -> None:
        self._reader.close()
