"""Opens the read surface for a verb or a route: the newest snapshot, and content where this process has the keys."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from spanfold import query_client
from spanfold.analytics import query_gate
from spanfold.analytics.content import message_words
from spanfold.analytics.queries import Reader
from spanfold.analytics.snapshots import Opened, Snapshots, Tenants
from spanfold.errors import SpanfoldError
from spanfold.exporter.errors import KeyMissing
from spanfold.exporter.keys import Keyring
from spanfold.state.comments import CommentSealer
from spanfold.state.store import StateStore


class NoDataDirectory(SpanfoldError):
    """There is no data directory here: start `spanfold up`, or name one with --data."""


def open_keyring(data: Path) -> Keyring | None:
    """The keys of a data directory, None where this process has none (content stays closed)."""
    try:
        return Keyring.open(data, create=False)
    except KeyMissing:
        return None


def open_reader(
    data: Path, *, content: bool = True, threads: int = 2, snapshots: Snapshots | None = None,
    seconds: float | None = None,
) -> Reader:  # fmt: skip
    """The read surface. Raises NoDataDirectory; without keys it shows everything but content. `seconds`: what one of
    its queries may take."""
    if not data.is_dir():
        raise NoDataDirectory(f"there is no data directory {data}: start `spanfold up`, or give --data")
    return Reader(data, open_keyring(data) if content else None, threads=threads, snapshots=snapshots, seconds=seconds)


def open_state(data: Path) -> StateStore:
    """The control plane, with comments where the keys are here."""
    if not data.is_dir():
        raise NoDataDirectory(f"there is no data directory {data}: start `spanfold up`, or give --data")
    keyring = open_keyring(data)
    return StateStore.open(data, sealer=comment_sealer(keyring) if keyring else None)


def note_reading(data: Path, area: str, subject: str, **details: Any) -> None:
    """Write into the audit log what the person at this terminal reads, before it is given out."""
    with StateStore.open(data) as state:
        state.audit.note(operating_user(), area, "read", subject, {"via": "cli"} | details)


def operating_user() -> str:
    """The user that runs this process, for the audit log; `local` in a container without a user table."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "local"


def comment_sealer(keyring: Keyring) -> CommentSealer:
    return CommentSealer(lambda tenant: keyring.hash_key(tenant, "review comments"))


def run_sql(
    data: Path, text: str, *, content: bool = True, limits: query_client.Limits | None = None,
    snapshots: Snapshots | None = None, tenants: Tenants = None, first_words: Callable[[], None] = lambda: None,
    started: Callable[[query_client.Query], None] | None = None,
) -> query_client.Query:  # fmt: skip
    """A person's SELECT on the newest snapshot, in a process of its own; content is readable if keys are here.

    `first_words` is called before the first words are handed over. With `tenants` no other exists.
    """
    opened = (snapshots or Snapshots(data)).newest(tenants)
    words_of = None
    if content:
        words_of = _words_of(opened, open_keyring(data), first_words)
    closed = () if tenants is None else ("book",)  # it names the models of all tenants
    return query_client.Query(
        text, opened.path, [data / "lake"], limits=limits, words_of=words_of, closed=closed, started=started
    )  # fmt: skip


def check_condition(data: Path, condition: str) -> None:
    """Raises QueryRefused unless this is one condition on the columns of `calls`."""
    with Snapshots(data).newest().reading() as cursor:
        query_gate.check_condition(cursor, condition)


def _words_of(
    opened: Opened, keyring: Keyring | None, first_words: Callable[[], None]
) -> Callable[[pa.Table], pa.Array]:
    told: list[bool] = []

    def words_of(places: pa.Table) -> pa.Array:
        if not told:
            first_words()
            told.append(True)
        homes: dict[tuple[Any, str], set[bytes]] = {}
        keys = []
        columns = (places.column("date").cast(pa.date32()), places.column("tenant"), places.column("message_id"))
        for day, tenant, message_id in zip(*(column.to_pylist() for column in columns), strict=True):
            keys.append((day, tenant, bytes.fromhex(message_id)))
            homes.setdefault((day, tenant), set()).add(keys[-1][2])
        found: dict[tuple[Any, str, bytes], str] = {}
        for (day, tenant), ids in homes.items():
            try:
                with opened.reading() as cursor:
                    words = message_words(cursor, keyring, (day, tenant), ids)
            except KeyMissing:
                continue  # NULL, as in the published view
            found |= {(day, tenant, message_id): said_in(body) for message_id, body in words.items()}
        return pa.array([found.get(key) for key in keys], pa.string())

    return words_of


def said_in(body: dict[str, Any]) -> str:
    """The parts of a message as JSON; of the row `system` also those of system messages at the head of the input."""
    parts = list(body.get("parts") or ())
    for message in body.get("messages") or ():
        parts += message.get("parts") or ()
    return orjson.dumps(parts).decode()
