"""Who is looking at what: two reviewers of one queue are never handed the same item. A lease ends by itself, also when
it was taken by a clock that was ahead."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from spanfold.state.database import Database, in_chunks
from spanfold.state.tables import review_leases
from spanfold.state.targets import Target, distinct, is_one_of, target_of

LENGTH = dt.timedelta(minutes=10)


class Leases:
    """Leases on review targets."""

    def __init__(self, database: Database, tenants: frozenset[str] | None = None) -> None:
        self._database = database
        self._tenants = tenants  # there are no others; None = all

    def within(self, tenants: frozenset[str] | None) -> Leases:
        """The same, but only these tenants exist."""
        return Leases(self._database, tenants)

    def take(self, candidates: Iterable[Target], *, who: str, limit: int = 20) -> list[Target]:
        """Lease the first `limit` candidates that nobody else holds, in their order; own leases are renewed."""
        wanted = [target for target in dict.fromkeys(candidates) if self._sees(target)]
        now = self._database.now()
        with self._database.write() as connection:
            connection.execute(sa.delete(review_leases).where(~_in_force(now)))
            taken: list[Target] = []
            for chunk in in_chunks(wanted):
                held = _held(connection, chunk)
                mine = [t for t in chunk if held.get(t, who) == who][: limit - len(taken)]
                self._store(connection, mine, who, now + LENGTH)
                after = _held(connection, mine)  # PostgreSQL: somebody may have been faster since the first look
                taken += [t for t in mine if after.get(t) == who]
                if len(taken) == limit:
                    break
            return taken

    def holders(self, targets: Iterable[Target]) -> dict[Target, str]:
        """Who holds which of these now."""
        with self._database.read() as connection:
            found: dict[Target, str] = {}
            for chunk in in_chunks(distinct(filter(self._sees, targets))):
                found |= _held(connection, chunk, self._database.now())
            return found

    def release(self, who: str, targets: Iterable[Target] | None = None) -> None:
        """Give back some leases of this person, or all."""
        chunks = [None] if targets is None else in_chunks(distinct(targets))
        with self._database.write() as connection:
            for chunk in chunks:
                statement = sa.delete(review_leases).where(review_leases.c.who == who)
                if chunk is not None:
                    statement = statement.where(is_one_of(review_leases, chunk))
                connection.execute(statement)

    def _sees(self, target: Target) -> bool:
        return self._tenants is None or target.tenant in self._tenants

    def _store(self, connection: Connection, targets: list[Target], who: str, until: dt.datetime) -> None:
        if not targets:
            return
        insert = self._database.insert(review_leases)
        renew = insert.on_conflict_do_update(
            index_elements=list(review_leases.primary_key.columns),
            set_={"expires_at": insert.excluded.expires_at},
            where=review_leases.c.who == insert.excluded.who,
        )
        connection.execute(renew, [t.columns() | {"who": who, "expires_at": until} for t in sorted(targets)])


def _held(connection: Connection, targets: list[Target], now: dt.datetime | None = None) -> dict[Target, str]:
    if not targets:
        return {}
    query = sa.select(review_leases).where(is_one_of(review_leases, targets))
    if now is not None:
        query = query.where(_in_force(now))
    return {target_of(row): row["who"] for row in connection.execute(query).mappings()}


def _in_force(now: dt.datetime) -> sa.ColumnElement[bool]:
    """No lease that was taken by now ends later than this."""
    return (review_leases.c.expires_at > now) & (review_leases.c.expires_at <= now + LENGTH)
