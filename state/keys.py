"""API keys of senders: shown once, stored as a hash. Label and tenant of a key are the last resort of the dimensions.

A key is 160 random bits, so a plain SHA-256 of it cannot be guessed back; the first characters are kept to tell keys
apart in lists. Nothing here logs or returns a secret except `add` and `rotate`, once. A key that was seen closed is
marked so, and stays closed when the clock goes back.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import hmac
import secrets
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from spanfold.state import audit
from spanfold.state.database import Database
from spanfold.state.errors import Invalid, NotFound
from spanfold.state.tables import api_keys

START = "sf_"
PREFIX_LENGTH = len(START) + 6
_SECRET_BYTES = 20
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no letters that look alike


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """A key without its secret."""

    id: str
    prefix: str
    label: str
    tenant: str
    created_at: dt.datetime
    created_by: str
    revoked_at: dt.datetime | None
    closed: bool = False

    def open_at(self, now: dt.datetime) -> bool:
        return not self.closed and (self.revoked_at is None or now < self.revoked_at)


@dataclass(frozen=True, slots=True)
class NewKey:
    """The only time that `secret` is seen."""

    secret: str
    info: KeyInfo

    def __repr__(self) -> str:
        return f"NewKey(secret='{self.info.prefix}...', info={self.info!r})"


def hash_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class Keys:
    """The API keys of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, label: str, *, tenant: str = "default", who: str) -> NewKey:
        if not label or not tenant:
            raise Invalid("an API key needs a label and a tenant")
        with self._database.write() as connection:
            return self._make(connection, label, tenant, who, "add")

    def rotate(self, key_id: str, *, who: str, overlap: dt.timedelta = dt.timedelta(0)) -> NewKey:
        """A new key with the label and tenant of an old one, which closes after `overlap`."""
        with self._database.write() as connection:
            old = self._find(connection, key_id)
            if not old.open_at(self._database.now()):
                raise Invalid(f"key {key_id} is revoked: add a new one")
            self._close(connection, old, self._database.now() + overlap, who)
            return self._make(connection, old.label, old.tenant, who, "rotate")

    def revoke(self, key_id: str, *, who: str) -> KeyInfo:
        """Close a key at once; revoking twice keeps the first time."""
        with self._database.write() as connection:
            known = self._find(connection, key_id)
            if known.open_at(self._database.now()):
                self._close(connection, known, self._database.now(), who)
            return self._find(connection, key_id)

    def all(self) -> list[KeyInfo]:
        """All keys ever made, newest first."""
        query = _info_query().order_by(api_keys.c.created_at.desc(), api_keys.c.id)
        with self._database.read() as connection:
            return [KeyInfo(**row) for row in connection.execute(query).mappings()]

    def open_hashes(self) -> dict[bytes, KeyInfo]:
        """Hash -> key, of the keys that open something now: what a collector holds in memory and renews."""
        self.close_expired()
        now = self._database.now()
        query = _info_query().add_columns(api_keys.c.hash)
        with self._database.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        found = {bytes(row.pop("hash")): KeyInfo(**row) for row in rows}
        return {digest: info for digest, info in found.items() if info.open_at(now)}

    def verify(self, secret: str) -> KeyInfo | None:
        """The key of this secret, None if there is none or it is closed. Compares hashes in constant time."""
        digest = hash_of(secret)
        found = None
        for known, info in self.open_hashes().items():
            if hmac.compare_digest(known, digest):
                found = info
        return found

    def close_expired(self) -> None:
        """Mark the keys whose overlap is over. Where that cannot be written now they open nothing all the same, and are
        marked at the next look."""
        due = api_keys.c.closed.is_(False) & (api_keys.c.revoked_at <= self._database.now())
        with self._database.read() as connection:
            if connection.execute(sa.select(api_keys.c.id).where(due).limit(1)).first() is None:
                return
        with contextlib.suppress(sa.exc.OperationalError), self._database.write() as connection:
            connection.execute(sa.update(api_keys).where(due).values(closed=True))

    def _make(self, connection: Connection, label: str, tenant: str, who: str, action: str) -> NewKey:
        secret = START + "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_BYTES * 8 // 5))
        row = {
            "id": "k_" + secrets.token_hex(4),
            "prefix": secret[:PREFIX_LENGTH],
            "label": label,
            "tenant": tenant,
            "created_at": self._database.now(),
            "created_by": who,
            "revoked_at": None,
            "closed": False,
        }
        connection.execute(sa.insert(api_keys), row | {"hash": hash_of(secret)})
        info = KeyInfo(**row)  # type: ignore[arg-type]
        audit.record(connection, self._database.now(), who, "keys", action, info.id, None, row)
        return NewKey(secret, info)

    def _find(self, connection: Connection, key_id: str) -> KeyInfo:
        row = connection.execute(_info_query().where(api_keys.c.id == key_id)).mappings().first()
        if row is None:
            raise NotFound(f"there is no key {key_id!r}: `spanfold keys list` shows the ids")
        return KeyInfo(**row)

    def _close(self, connection: Connection, known: KeyInfo, at: dt.datetime, who: str) -> None:
        values = {"revoked_at": at, "closed": at <= self._database.now()}
        connection.execute(sa.update(api_keys).where(api_keys.c.id == known.id).values(values))
        became = {"revoked_at": at}
        audit.record(connection, self._database.now(), who, "keys", "revoke", known.id, None, became)


def _info_query() -> sa.Select[tuple[object, ...]]:
    return sa.select(*(api_keys.c[name] for name in KeyInfo.__dataclass_fields__))
