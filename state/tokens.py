"""What stands for a signed-in user: sessions of browsers and bearer tokens of programs, stored as hashes.

Both are 256 random bits, so a plain SHA-256 cannot be guessed back. A session ends after hours without use, a token at
its date; both end at once when they are revoked or their user is disabled. What was seen past its time is marked as
closed, and stays closed when the clock of the machine goes back.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from spanfold.state import audit
from spanfold.state.access import Caller
from spanfold.state.database import Database
from spanfold.state.errors import Invalid, NotFound
from spanfold.state.tables import tokens, users
from spanfold.state.users import user_of_row

START = "sft_"
PREFIX_LENGTH = len(START) + 6
IDLE = dt.timedelta(hours=8)  # a session ends when it was not used for so long
SESSION = dt.timedelta(days=7)  # and after this in any case
_NOTED = dt.timedelta(minutes=1)  # use is written down at most so often


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInfo:
    """A bearer token or session without its secret."""

    id: str
    kind: str  # session | token
    prefix: str
    user_name: str
    label: str
    created_at: dt.datetime
    used_at: dt.datetime
    expires_at: dt.datetime
    revoked_at: dt.datetime | None
    closed: bool = False

    def open_at(self, now: dt.datetime) -> bool:
        idle = self.kind == "session" and now - self.used_at >= IDLE
        return not self.closed and self.revoked_at is None and now < self.expires_at and not idle


class Tokens:
    """The sessions and bearer tokens of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start_session(self, user: str, *, how: str) -> str:
        """The secret of a new session; `how` (password, oidc) goes into the trail. Old sessions are tidied away."""
        now = self._database.now()
        with self._database.write() as connection:
            old = (tokens.c.kind == "session") & (tokens.c.closed | _over(now))
            connection.execute(sa.delete(tokens).where(old))
            secret, row = _new("session", user, how, now, SESSION)
            connection.execute(sa.insert(tokens), row)
            audit.record(connection, now, user, "sessions", "login", user, None, {"how": how, "id": row["id"]})
        return secret

    def end_session(self, secret: str) -> None:
        """Sign out: the session opens nothing from now on."""
        now = self._database.now()
        with self._database.write() as connection:
            mine = (tokens.c.hash == _hash(secret)) & tokens.c.revoked_at.is_(None)
            row = connection.execute(sa.select(tokens.c.id, tokens.c.user_name).where(mine)).first()
            if row is not None:
                connection.execute(sa.update(tokens).where(tokens.c.id == row.id).values(revoked_at=now))
                audit.record(connection, now, row.user_name, "sessions", "logout", row.user_name, {"id": row.id})

    def add(self, user: str, label: str, *, days: int, who: str) -> tuple[str, TokenInfo]:
        """A bearer token of a user, and its secret: the only time it is seen."""
        if not label:
            raise Invalid("a token needs a label that says what it is for")
        now = self._database.now()
        with self._database.write() as connection:
            if connection.execute(sa.select(users.c.name).where(users.c.name == user)).first() is None:
                raise NotFound(f"there is no user {user!r}: `spanfold users list` shows the names")
            secret, row = _new("token", user, label, now, dt.timedelta(days=days))
            connection.execute(sa.insert(tokens), row)
            shown = {name: row[name] for name in ("prefix", "user_name", "label", "expires_at")}
            audit.record(connection, now, who, "tokens", "add", row["id"], None, shown)
        row.pop("hash")
        return secret, TokenInfo(**row)

    def close_expired(self) -> None:
        """Mark what is over its time. Where that cannot be written now it opens nothing all the same, and is marked at
        the next look."""
        now = self._database.now()
        due = tokens.c.closed.is_(False) & _over(now)
        with self._database.read() as connection:
            if connection.execute(sa.select(tokens.c.id).where(due).limit(1)).first() is None:
                return
        with contextlib.suppress(sa.exc.OperationalError), self._database.write() as connection:
            rows = connection.execute(_query().where(due & (tokens.c.kind == "token"))).mappings().all()
            connection.execute(sa.update(tokens).where(due).values(closed=True))
            for row in rows:
                shown = {name: row[name] for name in ("label", "expires_at")}
                audit.record(connection, now, row["user_name"], "tokens", "expire", row["id"], None, shown)

    def revoke(self, token_id: str, *, who: str) -> TokenInfo:
        """Close a token or session at once; revoking twice keeps the first time."""
        now = self._database.now()
        with self._database.write() as connection:
            query = _query().where(tokens.c.id == token_id)
            row = connection.execute(query).mappings().first()
            if row is None:
                raise NotFound(f"there is no token {token_id!r}: `spanfold tokens list` shows the ids")
            if row["revoked_at"] is None:
                connection.execute(sa.update(tokens).where(tokens.c.id == token_id).values(revoked_at=now))
                audit.record(connection, now, who, "tokens", "revoke", token_id, None, {"revoked_at": now})
            return TokenInfo(**dict(row) | {"revoked_at": row["revoked_at"] or now})

    def all(self, *, kind: str = "token") -> list[TokenInfo]:
        """Newest first."""
        query = _query().where(tokens.c.kind == kind).order_by(tokens.c.created_at.desc(), tokens.c.id)
        with self._database.read() as connection:
            return [TokenInfo(**row) for row in connection.execute(query).mappings()]

    def caller(self, secret: str, kind: str) -> Caller | None:
        """Who this secret stands for now; None if it opens nothing. Found by its hash, so no comparison leaks it."""
        self.close_expired()
        now = self._database.now()
        query = sa.select(tokens, users).join(users, users.c.name == tokens.c.user_name)
        query = query.where((tokens.c.hash == _hash(secret)) & (tokens.c.kind == kind))
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        if row is None or row[users.c.disabled_at] is not None:
            return None
        info = TokenInfo(**{name: row[tokens.c[name]] for name in TokenInfo.__dataclass_fields__})
        if not info.open_at(now):
            return None
        if abs(now - info.used_at) > _NOTED:  # noted by a clock that was ahead, it would never be idle
            with contextlib.suppress(sa.exc.OperationalError), self._database.write() as connection:
                connection.execute(sa.update(tokens).where(tokens.c.id == info.id).values(used_at=now))
        return user_of_row({column.name: row[column] for column in users.columns}).caller(kind)


def _new(kind: str, user: str, label: str, now: dt.datetime, life: dt.timedelta) -> tuple[str, dict[str, Any]]:
    secret = START + secrets.token_urlsafe(32)
    return secret, {
        "id": f"{kind[0]}_" + secrets.token_hex(6), "kind": kind, "hash": _hash(secret),
        "prefix": secret[:PREFIX_LENGTH], "user_name": user, "label": label, "created_at": now, "used_at": now,
        "expires_at": now + life, "revoked_at": None, "closed": False,
    }  # fmt: skip


def _over(now: dt.datetime) -> sa.ColumnElement[bool]:
    idle = (tokens.c.kind == "session") & (tokens.c.used_at <= now - IDLE)
    return (tokens.c.expires_at <= now) | idle


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _query() -> sa.Select[tuple[object, ...]]:
    return sa.select(*(tokens.c[name] for name in TokenInfo.__dataclass_fields__))
