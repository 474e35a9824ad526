"""The audit log: sign-ins, every change of users, keys, prices, rules and deploys, every reading and export of content.

Each line is written in the transaction of what it tells and holds the hash of the line before it: a line that was
changed, taken out or put in between breaks the chain at that place. The chain has no secret in it, so who can write
the database can also write a new chain: note the newest hash elsewhere (`spanfold audit verify` prints it) and ask for
it again later (`--expect`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from spanfold.state.database import Database
from spanfold.state.tables import settings_audit

ORIGIN = bytes(32)  # what the first line holds as the hash before it
_LOCK = 0x5BA4A0D1  # one writer of the chain at a time on PostgreSQL; SQLite has one writer anyway
_SUBJECT = 400  # characters
_PAGE = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of the log. `was` and `became` are JSON objects without secrets; None = did not exist."""

    seq: int
    changed_at: dt.datetime
    who: str
    area: str
    action: str
    subject: str
    was: dict[str, Any] | None
    became: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a walk along the chain found. `broken` = seq of the first line that does not fit, None = the chain holds."""

    lines: int
    head: str  # hash of the newest line in hex
    broken: int | None = None
    expected_found: bool | None = None


def record(
    connection: Connection,
    now: dt.datetime,
    who: str,
    area: str,
    action: str,
    subject: str,
    was: Mapping[str, Any] | None = None,
    became: Mapping[str, Any] | None = None,
) -> None:
    """Add one line; called by every function that changes a setting, with its connection."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    newest = sa.select(settings_audit.c.hash).order_by(settings_audit.c.seq.desc()).limit(1)
    before = connection.execute(newest).scalar()
    row = {
        "changed_at": now.astimezone(dt.UTC), "who": who[:200], "area": area, "action": action,
        "subject": subject[:_SUBJECT], "was": _json(was), "became": _json(became),
    }  # fmt: skip
    prev = bytes(before) if before is not None else ORIGIN
    connection.execute(sa.insert(settings_audit), row | {"prev": prev, "hash": line_hash(prev, row)})


def line_hash(prev: bytes, row: Mapping[str, Any]) -> bytes:
    """SHA-256 over the hash before and the fields, as one JSON array: no two different lines give the same text."""
    time = row["changed_at"].astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields = [row[name] for name in ("who", "area", "action", "subject", "was", "became")]
    return hashlib.sha256(json.dumps([prev.hex(), time, *fields]).encode()).digest()


class Audit:
    """Reading the log, and writing what is no change of a setting."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, who: str, area: str, action: str, subject: str, details: Mapping[str, Any] | None = None) -> None:
        """Write down one act, durably, before its result is given out."""
        with self._database.write() as connection:
            record(connection, self._database.now(), who, area, action, subject, None, details)

    def changes(
        self, area: str | None = None, *, limit: int = 200, before: int | None = None, who: str | None = None
    ) -> list[Change]:
        """The newest `limit` lines (older than seq `before`), newest first."""
        columns = [settings_audit.c[name] for name in Change.__dataclass_fields__]
        query = sa.select(*columns).order_by(settings_audit.c.seq.desc()).limit(limit)
        if area is not None:
            query = query.where(settings_audit.c.area == area)
        if who is not None:
            query = query.where(settings_audit.c.who == who)
        if before is not None:
            query = query.where(settings_audit.c.seq < before)
        with self._database.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [Change(**row | {"was": _object(row["was"]), "became": _object(row["became"])}) for row in rows]

    def verify(self, *, expect: str | None = None) -> Verdict:
        """Walks the whole chain. `expect`: a hash that was noted earlier and must still be in it."""
        prev, lines, after, found = ORIGIN, 0, 0, None if expect is None else expect == ORIGIN.hex()
        with self._database.read() as connection:
            while rows := self._page(connection, after):
                for row in rows:
                    if row["prev"] != prev or row["hash"] != line_hash(prev, row):
                        return Verdict(lines, prev.hex(), int(row["seq"]), found)
                    prev, lines = row["hash"], lines + 1
                    found = found or (None if expect is None else prev.hex() == expect)
                after = int(rows[-1]["seq"])
        return Verdict(lines, prev.hex(), None, found)

    def naming(self, names: Collection[str]) -> int:
        """How many lines hold one of these names: they stay, because a line taken out breaks the chain."""
        count, after = 0, 0
        with self._database.read() as connection:
            while rows := self._page(connection, after):
                for row in rows:
                    texts = [str(row[name] or "") for name in ("who", "subject", "was", "became")]
                    count += any(name in text for name in names for text in texts)
                after = int(rows[-1]["seq"])
        return count

    @staticmethod
    def _page(connection: Connection, after: int) -> Sequence[dict[str, Any]]:
        query = sa.select(settings_audit).where(settings_audit.c.seq > after)
        rows = connection.execute(query.order_by(settings_audit.c.seq).limit(_PAGE)).mappings()
        whole = [dict(row) for row in rows]
        for row in whole:
            for name in ("prev", "hash"):
                row[name] = bytes(row[name]) if row[name] is not None else None
        return whole


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(dict(value), sort_keys=True, default=str)


def _object(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.loads(text)
