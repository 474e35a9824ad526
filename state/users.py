"""The people who may sign in: name, roles, tenants, and a password hash or none (then a provider signs them in)."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from spanfold.state import audit, passwords
from spanfold.state.access import ROLES, Caller
from spanfold.state.database import Database
from spanfold.state.errors import Invalid, NotFound
from spanfold.state.tables import tokens, users


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user without the password. `tenants` None = all."""

    name: str
    roles: frozenset[str]
    tenants: frozenset[str] | None
    has_password: bool
    created_at: dt.datetime
    created_by: str
    disabled_at: dt.datetime | None

    def caller(self, via: str) -> Caller:
        return Caller(self.name, self.roles, self.tenants, via)


class Users:
    """The users of a store. A change of password or roles and a disabling end all sessions of the user."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, name: str, roles: Collection[str], *, tenants: Collection[str] | None = None,
        password: str | None = None, who: str,
    ) -> User:  # fmt: skip
        """Raises Invalid for a name that is taken, an unknown role, no tenant, a weak password."""
        name = _name(name)
        row = {
            "name": name, "roles": _roles(roles), "tenants": _tenants(tenants),
            "password": None if password is None else passwords.hash_password(password),
            "created_at": self._database.now(), "created_by": who, "disabled_at": None,
        }  # fmt: skip
        with self._database.write() as connection:
            if self._row(connection, name) is not None:
                raise Invalid(f"there is a user {name!r} already: `spanfold users role` changes what it may do")
            connection.execute(sa.insert(users), row)
            self._note(connection, who, "add", name, None, row)
        return user_of_row(row)

    def change_roles(
        self, name: str, roles: Collection[str], *, tenants: Collection[str] | None = None, who: str
    ) -> User:
        """Replaces roles and tenants (None = all)."""
        return self._change(name, who, "role", roles=_roles(roles), tenants=_tenants(tenants))

    def set_password(self, name: str, password: str, *, who: str) -> User:
        return self._change(name, who, "passwd", password=passwords.hash_password(password))

    def disable(self, name: str, *, who: str) -> User:
        return self._change(name, who, "disable", disabled_at=self._database.now())

    def enable(self, name: str, *, who: str) -> User:
        return self._change(name, who, "enable", disabled_at=None)

    def all(self) -> list[User]:
        with self._database.read() as connection:
            rows = connection.execute(sa.select(users).order_by(users.c.name)).mappings()
            return [user_of_row(row) for row in rows]

    def get(self, name: str) -> User | None:
        """The user of this name who may sign in; None if there is none or it is disabled."""
        with self._database.read() as connection:
            row = self._row(connection, name.strip().lower())
        return user_of_row(row) if row is not None and row["disabled_at"] is None else None

    def check(self, name: str, password: str) -> User | None:
        """The user, if this is the password. Takes the same time for a wrong name as for a wrong password."""
        with self._database.read() as connection:
            row = self._row(connection, name.strip().lower()[:200])
        right = passwords.fits(password, row["password"] if row is not None else None)
        return user_of_row(row) if row is not None and right and row["disabled_at"] is None else None

    def _change(self, name: str, who: str, action: str, **values: Any) -> User:
        name = name.strip().lower()
        with self._database.write() as connection:
            row = self._row(connection, name)
            if row is None:
                raise NotFound(f"there is no user {name!r}: `spanfold users list` shows the names")
            connection.execute(sa.update(users).where(users.c.name == name).values(values))
            self._note(connection, who, action, name, dict(row), dict(row) | values)
            ended = (tokens.c.user_name == name) & (tokens.c.kind == "session") & tokens.c.revoked_at.is_(None)
            connection.execute(sa.update(tokens).where(ended).values(revoked_at=self._database.now()))
        return user_of_row(dict(row) | values)

    def _note(self, connection: Connection, who: str, action: str, name: str, was: Any, became: dict[str, Any]) -> None:
        shown = [None if row is None else _shown(row) for row in (was, became)]
        audit.record(connection, self._database.now(), who, "users", action, name, *shown)

    @staticmethod
    def _row(connection: Connection, name: str) -> Any:
        return connection.execute(sa.select(users).where(users.c.name == name)).mappings().first()


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """For the trail: whether there is a password, never its hash."""
    kept = ("roles", "tenants", "disabled_at")
    return {name: row[name] for name in kept} | {"has_password": row["password"] is not None}


def _name(name: str) -> str:
    name = name.strip().lower()
    if not 1 <= len(name) <= 200 or not name.isprintable():
        raise Invalid(f"{name[:80]!r} is not a user name of 1 to 200 characters, such as ann or ann@example.com")
    return name


def _roles(roles: Collection[str]) -> str:
    if not roles or not set(roles) <= set(ROLES):
        raise Invalid(f"{', '.join(sorted(roles)) or 'no role'}: give one or more of {', '.join(ROLES)}")
    return ",".join(role for role in ROLES if role in roles)


def _tenants(tenants: Collection[str] | None) -> str | None:
    if tenants is None:
        return None
    if not tenants or not all(tenants) or "*" in tenants:
        raise Invalid("give at least one tenant by its name, or leave them out for all")
    return json.dumps(sorted(set(tenants)))


def user_of_row(row: Any) -> User:
    tenants = None if row["tenants"] is None else frozenset(json.loads(row["tenants"]))
    return User(
        name=row["name"], roles=frozenset(row["roles"].split(",")), tenants=tenants,
        has_password=row["password"] is not None, created_at=row["created_at"], created_by=row["created_by"],
        disabled_at=row["disabled_at"],
    )  # fmt: skip
