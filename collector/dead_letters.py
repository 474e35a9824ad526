"""Records that could not be folded: set aside whole and encrypted, counted, and replayable after a release that can."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spanfold.collector.segments import JournalRecord, Position
from spanfold.exporter.durable import write_durably
from spanfold.exporter.keys import Keyring

NOTE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record set aside."""

    path: Path
    signal: str
    tenant: str
    position: tuple[int, int]
    error: str  # the kind of error and where it happened, never a value
    set_aside_ns: int


class DeadLetters:
    """`dead-letters/<segment>-<offset>.json` says what, `.bin` beside it holds the sealed body."""

    def __init__(self, data: Path, keyring: Keyring) -> None:
        self._directory, self._keyring = data / "dead-letters", keyring

    def put(self, position: Position, record: JournalRecord, error: BaseException | str) -> None:
        """Durable when this returns. Setting the same record aside again changes nothing."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        stem = f"{position.segment:010d}-{position.offset:012d}"
        key = self._keyring.journal_key()
        nonce = position.segment.to_bytes(4, "big") + position.offset.to_bytes(8, "big")
        body = AESGCM(key.key).encrypt(nonce, record.body, stem.encode())
        write_durably(self._directory / f"{stem}.bin", key.id.to_bytes(4, "big") + body, sync_directory=False)
        note = {
            "format": NOTE_FORMAT, "signal": record.signal, "tenant": record.tenant, "key_label": record.key_label,
            "received_ns": record.received_ns, "segment": position.segment, "offset": position.offset,
            "error": _described(error), "set_aside_ns": time.time_ns(),
        }  # fmt: skip
        write_durably(self._directory / f"{stem}.json", orjson.dumps(note))

    def list(self) -> list[DeadLetter]:
        out = []
        for path in sorted(self._directory.glob("*.json")) if self._directory.exists() else []:
            note = orjson.loads(path.read_bytes())
            out.append(
                DeadLetter(path, note["signal"], note["tenant"], (note["segment"], note["offset"]), note["error"],
                           note["set_aside_ns"])
            )  # fmt: skip
        return out


def _described(error: BaseException | str) -> str:
    """Kind and place of an error: its text may hold content, so it is left out."""
    if isinstance(error, str):
        return error
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" in {Path(last[0].filename).name}:{last[0].lineno}" if last else ""
    return f"{type(error).__name__}{where}"
