"""What can go wrong while receiving. A class's docstring is the sentence a user sees by default."""

from __future__ import annotations


class CollectorError(Exception):
    """The collector cannot do what was asked."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or ""))


class LockHeld(CollectorError):
    """Another process does this work for the same data directory."""


class PortTaken(CollectorError):
    """An address to listen on is in use."""


class RecordDamaged(CollectorError):
    """A journal record does not decrypt: it was changed or written under another key."""


class RecordTooNew(CollectorError):
    """The journal holds records of a later release: install that release to fold them."""


class JournalError(CollectorError):
    """The journal cannot take a record now. Nothing of it was acknowledged; the sender should try again."""


class JournalFull(JournalError):
    """There is no room for the journal: free disk space, or raise journal_max_bytes."""


class JournalUnavailable(JournalError):
    """The journal could not be written or synced."""


class TlsUnusable(CollectorError):
    """A certificate or key for TLS cannot be used."""


class NoSuchLetter(CollectorError):
    """There is no such dead letter: `spanfold dead list` shows them."""
