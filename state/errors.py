"""What can go wrong in the control plane. A class's docstring is the sentence a user sees by default."""

from __future__ import annotations


class StateError(Exception):
    """The control plane could not be read or written."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or ""))


class StateTooNew(StateError):
    """The state database was written by a later release: install that release, or restore a backup."""


class NotFound(StateError):
    """There is nothing with this id."""


class Invalid(StateError):
    """A value is not one that this field can have."""


class CommentsLocked(StateError):
    """Comments are stored encrypted and no key was given: open the store with a sealer."""


class CommentDamaged(StateError):
    """A stored comment does not decrypt: it was changed, moved, or written under another key."""
