"""Rotation of keys, with its line in the audit log."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spanfold.errors import SpanfoldError
from spanfold.exporter.keys import KEY_BYTES, NEW_ROOT_VARIABLE, ROOT_VARIABLE, Keyring, RootKey, root_from
from spanfold.reading import open_state, operating_user


class NotRotated(SpanfoldError):
    """The root key could not be rotated."""


def rotate_root(data: Path, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Wraps every key anew. Raises NotRotated when nobody says what the new root key is, KeyMissing."""
    ring = Keyring.open(data, create=False, environ=environ)
    before, _ = ring.root
    new: bytes | RootKey = os.urandom(KEY_BYTES)
    if NEW_ROOT_VARIABLE in environ:
        new = root_from(environ[NEW_ROOT_VARIABLE], NEW_ROOT_VARIABLE)
    elif not ring.root_in_file:
        raise NotRotated(
            f"the root key is not in a file: put the new one into {NEW_ROOT_VARIABLE}, rotate, set {ROOT_VARIABLE} "
            "to it and start Spanfold again"
        )
    ring.rotate_root(new)
    after, _ = ring.root
    told = {"root_before": before, "root_now": after, "keys_wrapped_anew": len(ring.entries())}
    _note(data, "rotate root", told)
    if NEW_ROOT_VARIABLE in environ:
        told["next"] = f"set {ROOT_VARIABLE} to what {NEW_ROOT_VARIABLE} holds and start Spanfold again"
    return told


def rotate_data_keys(data: Path) -> dict[str, Any]:
    """New keys for what is written from now on."""
    ring = Keyring.open(data, create=False)
    told: dict[str, Any] = {"new_keys": ring.renew_data_keys(dt.datetime.now(dt.UTC).date())}
    _note(data, "rotate data keys", told)
    return told


def _note(data: Path, action: str, told: Mapping[str, Any]) -> None:
    with open_state(data) as state:
        state.audit.note(operating_user(), "keyring", action, "", told)
