"""The audit trail of settings: every change of keys, deploys, prices and rules, in the transaction that made it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from spanfold.state.database import Database
from spanfold.state.tables import settings_audit


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of the trail. `was` and `became` are JSON objects without secrets; None = did not exist."""

    seq: int
    changed_at: dt.datetime
    who: str
    area: str
    action: str
    subject: str
    was: dict[str, Any] | None
    became: dict[str, Any] | None


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
    connection.execute(
        sa.insert(settings_audit),
        {
            "changed_at": now,
            "who": who,
            "area": area,
            "action": action,
            "subject": subject,
            "was": _json(was),
            "became": _json(became),
        },
    )


class Audit:
    """Reading the trail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def changes(self, area: str | None = None, *, limit: int = 200, before: int | None = None) -> list[Change]:
        """The newest `limit` lines (older than seq `before`), newest first."""
        query = sa.select(settings_audit).order_by(settings_audit.c.seq.desc()).limit(limit)
        if area is not None:
            query = query.where(settings_audit.c.area == area)
        if before is not None:
            query = query.where(settings_audit.c.seq < before)
        with self._database.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [Change(**row | {"was": _object(row["was"]), "became": _object(row["became"])}) for row in rows]


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(dict(value), sort_keys=True, default=str)


def _object(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.loads(text)
