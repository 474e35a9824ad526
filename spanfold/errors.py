"""What the roof tells a person. A class's docstring is the sentence a user sees by default."""

from __future__ import annotations


class SpanfoldError(Exception):
    """Spanfold cannot do this."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or ""))


class SettingInvalid(SpanfoldError):
    """A setting has a value that it cannot have."""


class HostRefused(SpanfoldError):
    """Only loopback addresses are allowed until authentication is configured."""


class NotCompacted(SpanfoldError):
    """The fold process did not finish compacting in time."""


class NotRetained(SpanfoldError):
    """The fold process did not finish in time what retention lets go."""


class NotFlushed(SpanfoldError):
    """What was accepted did not reach the snapshot in time; see `spanfold status`."""


class NotSetAside(SpanfoldError):
    """The fold process did not set damaged files aside in time."""


class DamageFound(SpanfoldError):
    """Something that is stored is not what was written."""


class ChildFailed(SpanfoldError):
    """A part of Spanfold ended instead of starting."""
