"""What can go wrong while writing and reading the lake. A class's docstring is the sentence a user sees by default."""

from __future__ import annotations


class ExporterError(Exception):
    """The lake could not be read or written."""


class ManifestDamaged(ExporterError):
    """A manifest is damaged."""


class ManifestTooNew(ExporterError):
    """A manifest was written by a later release."""


class LakeLocked(ExporterError):
    """Another process writes to this data directory."""


class FileDamaged(ExporterError):
    """A data file is missing or does not have the checksum that the manifest states."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path  # relative to the data directory


class RunDamaged(ExporterError):
    """A run of identities is missing or not the one that was written: it is built again from the stored rows."""


class KeyMissing(ExporterError):
    """A key that this data directory needs is missing, wrong or exposed."""


class BlockDamaged(ExporterError):
    """A content block is not the one that was sealed for its row."""


class RuleInvalid(ExporterError):
    """A redaction rule cannot be used."""


class ArchiveAway(ExporterError):
    """The archive folder is not the one that was written to before."""
