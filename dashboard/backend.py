"""What the pages read and write: one backend a process, installed by whoever starts the server (or by a test)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spanfold.analytics.queries import Reader
from spanfold.state.store import StateStore


def utc_now() -> dt.datetime:
    """Now in UTC, without zone, as stored times are."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The read surface, the control plane, and what a person who has sent nothing yet needs to know."""

    data: Path
    reader: Reader
    state: StateStore
    reviewer: str  # who decides, until there is a login
    listening: Callable[[], tuple[str, str]]  # where OTLP is taken: gRPC, HTTP; host:port
    status: Callable[[], Mapping[str, Any]]  # what `spanfold status --json` says
    now: Callable[[], dt.datetime] = field(default=utc_now)


_installed: list[Backend] = []


def install(backend: Backend) -> None:
    """Make this the backend of every session of this process."""
    _installed[:] = [backend]


def backend() -> Backend:
    """The installed backend."""
    if not _installed:
        raise RuntimeError("no backend is installed: start the dashboard with `spanfold dashboard`")
    return _installed[0]
