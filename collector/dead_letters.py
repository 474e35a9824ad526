"""Records that could not be folded: set aside whole and encrypted, counted, and replayable after a release that can."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spanfold.collector.errors import NoSuchLetter, RecordDamaged
from spanfold.collector.journal import Journal
from spanfold.collector.segments import JournalRecord, Position
from spanfold.exporter.durable import sync_dirs, write_durably
from spanfold.exporter.keys import Keyring

NOTE_FORMAT = 1
_NAME = re.compile(r"\d{10}-\d{12}")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record set aside."""

    name: str  # <segment>-<offset> of the record in the journal
    signal: str
    tenant: str
    key_label: str | None
    received_ns: int
    error: str  # the kind of error and where it happened, never a value
    set_aside_ns: int
    bytes: int  # of the sealed body


class DeadLetters:
    """`dead-letters/<name>.json` says what, `.bin` beside it holds the sealed body."""

    def __init__(self, data: Path, keyring: Keyring) -> None:
        self._directory, self._keyring = data / "dead-letters", keyring

    def put(self, position: Position, record: JournalRecord, error: BaseException | str) -> None:
        """Durable when this returns. Setting the same record aside again changes nothing."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{position.segment:010d}-{position.offset:012d}"
        key = self._keyring.journal_key()
        nonce = position.segment.to_bytes(4, "big") + position.offset.to_bytes(8, "big")
        body = AESGCM(key.key).encrypt(nonce, record.body, name.encode())
        write_durably(self._directory / f"{name}.bin", key.id.to_bytes(4, "big") + body, sync_directory=False)
        note = {
            "format": NOTE_FORMAT, "signal": record.signal, "tenant": record.tenant, "key_label": record.key_label,
            "received_ns": record.received_ns, "segment": position.segment, "offset": position.offset,
            "error": _described(error), "set_aside_ns": time.time_ns(),
        }  # fmt: skip
        write_durably(self._directory / f"{name}.json", orjson.dumps(note))

    def names(self) -> list[str]:
        """Oldest first."""
        return sorted(path.stem for path in self._directory.glob("*.json"))

    def get(self, name: str) -> DeadLetter:
        """Raises NoSuchLetter."""
        try:
            note = orjson.loads((self._directory / f"{_checked(name)}.json").read_bytes())
            size = (self._directory / f"{name}.bin").stat().st_size
        except (FileNotFoundError, orjson.JSONDecodeError) as error:
            raise NoSuchLetter(f"there is no dead letter {name!r}, or not all of it: `spanfold dead list`") from error
        told = {field: note[field] for field in ("signal", "tenant", "key_label", "received_ns", "error")}
        return DeadLetter(name, **told, set_aside_ns=note["set_aside_ns"], bytes=size)

    def record(self, name: str) -> JournalRecord:
        """The record as it was received, but of no items: they were counted then.

        Raises NoSuchLetter, RecordDamaged.
        """
        letter = self.get(name)
        segment, _, offset = name.partition("-")
        sealed = (self._directory / f"{name}.bin").read_bytes()
        nonce = int(segment).to_bytes(4, "big") + int(offset).to_bytes(8, "big")
        try:
            body = AESGCM(self._keyring.key(int.from_bytes(sealed[:4], "big"))).decrypt(
                nonce, sealed[4:], name.encode()
            )
        except InvalidTag:
            raise RecordDamaged(f"dead letter {name} was changed on disk: only `spanfold dead drop` is left") from None
        return JournalRecord(letter.signal, letter.tenant, letter.key_label, letter.received_ns, body)

    def drop(self, name: str) -> None:
        """Forgets one for good. Raises NoSuchLetter."""
        note = self._directory / f"{_checked(name)}.json"
        if not note.exists():
            raise NoSuchLetter(f"there is no dead letter {name!r}: `spanfold dead list` shows them")
        note.unlink()
        (self._directory / f"{name}.bin").unlink(missing_ok=True)
        sync_dirs([self._directory])

    def replay(self, journal: Journal, names: Iterable[str]) -> int:
        """Appends records to the journal again, each durable there before its letter goes; what a crash between lets
        happen twice is stored once. Gives how many. Raises JournalError, NoSuchLetter, RecordDamaged."""
        count = 0
        for name in names:
            journal.append(self.record(name))
            self.drop(name)
            count += 1
        return count


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise NoSuchLetter(f"{name!r} is no name of a dead letter: `spanfold dead list` shows them")
    return name


def _described(error: BaseException | str) -> str:
    """Kind and place of an error: its text may hold content, so it is left out."""
    if isinstance(error, str):
        return error
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" in {Path(last[0].filename).name}:{last[0].lineno}" if last else ""
    return f"{type(error).__name__}{where}"
