"""What can go wrong while publishing and reading. A class's docstring is the sentence a user sees by default."""

from __future__ import annotations

from spanfold.exporter.errors import KeyMissing as KeyMissing  # what reading words raises where no key opens them


class AnalyticsError(Exception):
    """The stored calls could not be read."""


class NoSnapshot(AnalyticsError):
    """Nothing has been published yet: start `spanfold up` (or `spanfold fold`) on this data directory first."""


class PriceRefused(AnalyticsError):
    """A price is not plausible."""


class QueryRefused(AnalyticsError):
    """Only one SELECT statement is allowed here."""


class QueryTooSlow(AnalyticsError):
    """The query was stopped at its time limit."""


class QueryAbandoned(AnalyticsError):
    """The query was stopped because nobody waits for its answer any more."""


class DatabaseFailed(AnalyticsError):
    """DuckDB failed from within and was opened anew: ask again; if it stays, `spanfold scrub` finds damaged files."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


class FileUnreadable(AnalyticsError):
    """A file could not be read or written: it was replaced meanwhile, or the disk is full or fails. Ask again; if it
    stays, `spanfold scrub` finds damaged and missing files."""

    def __init__(self) -> None:
        super().__init__(" ".join((type(self).__doc__ or "").split()))


class ContentWithheld(KeyMissing):
    """You may not read content here: ask who administers Spanfold for a role that may."""
