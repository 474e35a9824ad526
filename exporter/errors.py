"""What can go wrong while writing and reading the lake. A class's docstring is the sentence a user sees by default."""

from __future__ import annotations


class ExporterError(Exception):
    """The lake could not be read or written."""


class ManifestDamaged(ExporterError):
    """A manifest is damaged or was written by a later release."""


class LakeLocked(ExporterError):
    """Another process writes to this data directory."""


class FileDamaged(ExporterError):
    """A data file does not have the checksum that the manifest states."""


class KeyMissing(ExporterError):
    """A key that this data directory needs is missing, wrong or exposed."""


class BlockDamaged(ExporterError):
    """A content block is not the one that was sealed for its row."""


class RuleInvalid(ExporterError):
    """A redaction rule cannot be used."""
