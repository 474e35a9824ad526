"""Decisions of people on what the models said: states, an append-only trail, undo.

A decision is one act: one target or many, one transaction with its audit rows, or nothing at all. Each target counts
its decisions in `revision`; a reviewer who saw revision 3 says so, and is refused when somebody else was faster. The
caller may name the act (`batch_id`); saying the same act twice, as a screen does after a lost answer, changes nothing.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from spanfold.state.comments import Sealer
from spanfold.state.database import Database, in_chunks
from spanfold.state.errors import CommentsLocked, Invalid, NotFound, StateError
from spanfold.state.tables import STATES, review_events, reviews
from spanfold.state.targets import KEY, Target, distinct, is_one_of, is_target, key_parameters, target_of

UNREVIEWED = "unreviewed"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Review:
    """Where a target stands. Revision 0 = nobody has decided yet."""

    target: Target
    state: str = UNREVIEWED
    revision: int = 0
    updated_at: dt.datetime | None = None
    who: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewEvent:
    """One line of the trail. `comment` is None where there is none or where the store has no key (`has_comment`)."""

    seq: int
    target: Target
    decided_at: dt.datetime
    who: str
    from_state: str
    to_state: str
    revision: int
    batch_id: str
    undo_of: int | None
    comment: str | None
    has_comment: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """What an act left behind. `repeated`: the act had been stored before, nothing was done now."""

    batch_id: str
    reviews: tuple[Review, ...]
    repeated: bool = False


class RevisionConflict(StateError):
    """Somebody else decided in the meantime: look at the newer decision, then decide again."""

    def __init__(self, current: Sequence[Review]) -> None:
        super().__init__()
        self.current = tuple(current)  # as they stand now


class Reviews:
    """The reviews of a store."""

    def __init__(self, database: Database, sealer: Sealer | None, tenants: frozenset[str] | None = None) -> None:
        self._database = database
        self._sealer = sealer
        self._tenants = tenants  # there are no others; None = all

    def within(self, tenants: frozenset[str] | None) -> Reviews:
        """The same, but only these tenants exist."""
        return Reviews(self._database, self._sealer, tenants)

    def decide(
        self,
        targets: Iterable[Target],
        state: str,
        *,
        who: str,
        comment: str | None = None,
        expected: Mapping[Target, int] | int | None = None,
        batch_id: str | None = None,
    ) -> Decision:
        """Put all targets into `state`. `expected`: the revisions that the person saw (one number = the same for all).

        Raises RevisionConflict with the current reviews, and changes nothing, if any differs.
        """
        wanted = distinct(targets)
        if state not in STATES:
            raise Invalid(f"{state!r} is not a review state: use one of {', '.join(STATES)}")
        if not wanted or not who:
            raise Invalid("a decision needs at least one target and the name of who decides")
        if self._tenants is not None and any(target.tenant not in self._tenants for target in wanted):
            raise NotFound("there is no such target")
        batch_id = batch_id or secrets.token_hex(16)
        with self._database.write() as connection:
            current = self._lock(connection, wanted)
            if stored := self._stored(connection, batch_id):
                return Decision(batch_id, tuple(self._read(connection, stored).values()), repeated=True)
            seen = expected if isinstance(expected, Mapping) else dict.fromkeys(wanted, expected)
            _refuse_stale(current[t] for t in wanted if seen.get(t) not in (None, current[t].revision))
            sealed = {t.tenant: self._seal(t.tenant, batch_id, comment) for t in wanted} if comment else {}
            steps = [_Step(current[t], state, None, sealed.get(t.tenant)) for t in wanted]
            return Decision(batch_id, self._write(connection, steps, who, batch_id))

    def undo(self, batch_id: str, *, who: str, as_batch: str | None = None) -> Decision:
        """Take an act back on all its targets; the trail keeps both. An undo is an act and can be undone.

        Raises NotFound for an act that never was, RevisionConflict if a target was decided again since.
        """
        undoing = as_batch or secrets.token_hex(16)
        with self._database.write() as connection:
            targets = self._stored(connection, batch_id)
            if not targets:
                raise NotFound(f"there is no decision {batch_id!r}")
            current = self._lock(connection, targets)
            if stored := self._stored(connection, undoing):
                return Decision(undoing, tuple(self._read(connection, stored).values()), repeated=True)
            mine = (review_events.c.batch_id == batch_id) & self._seen(review_events)
            query = sa.select(review_events).where(mine)
            events = {target_of(row): row for row in connection.execute(query).mappings()}
            _refuse_stale(current[t] for t in targets if current[t].revision != events[t]["revision"])
            steps = [_Step(current[t], events[t]["from_state"], events[t]["seq"], None) for t in targets]
            return Decision(undoing, self._write(connection, steps, who, undoing))

    def get(self, targets: Iterable[Target]) -> dict[Target, Review]:
        """The review of each target, also of those that nobody has decided on."""
        with self._database.read() as connection:
            return self._read(connection, distinct(targets))

    def decided(
        self,
        *,
        tenant: str | None = None,
        kind: str | None = None,
        states: Sequence[str] = (),
        limit: int = 200,
        offset: int = 0,
    ) -> list[Review]:
        """Targets that somebody has decided on, latest decision first."""
        order = (reviews.c.updated_at.desc(), *(reviews.c[name] for name in KEY))
        query = sa.select(reviews).where(reviews.c.revision > 0).order_by(*order).limit(limit).offset(offset)
        query = query.where(self._seen(reviews))
        if tenant is not None:
            query = query.where(reviews.c.tenant == tenant)
        if kind is not None:
            query = query.where(reviews.c.kind == kind)
        if states:
            query = query.where(reviews.c.state.in_(states))
        with self._database.read() as connection:
            return [_review(row) for row in connection.execute(query).mappings()]

    def counts(self, *, tenant: str | None = None) -> dict[str, int]:
        """How many targets stand in each state; those without a decision are not known here."""
        query = sa.select(reviews.c.state, sa.func.count()).where(reviews.c.revision > 0).group_by(reviews.c.state)
        query = query.where(self._seen(reviews))
        if tenant is not None:
            query = query.where(reviews.c.tenant == tenant)
        with self._database.read() as connection:
            found = {row[0]: row[1] for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in STATES}

    def history(self, target: Target) -> list[ReviewEvent]:
        """The trail of one target, oldest first, comments opened where the store has a sealer."""
        return self._events(is_one_of(review_events, [target]))

    def events(self, *, tenant: str | None = None, after: int = 0, limit: int = 1000) -> list[ReviewEvent]:
        """The trail after seq `after`, oldest first."""
        where = review_events.c.seq > after
        return self._events(where if tenant is None else where & (review_events.c.tenant == tenant), limit)

    def last_event(self) -> int:
        """Seq of the newest event, 0 = none: part of a cache key of screens that overlay reviews."""
        with self._database.read() as connection:
            newest = sa.select(sa.func.max(review_events.c.seq)).where(self._seen(review_events))
            return connection.execute(newest).scalar() or 0

    def erase_comments(self, concerns: Callable[[Target], bool], *, tenant: str, dry_run: bool = False) -> int:
        """Forgets the comments on these targets for good; the decisions stay. Gives how many there were."""
        with self._database.write() as connection:
            held = sa.select(review_events).where(
                (review_events.c.tenant == tenant) & review_events.c.comment.is_not(None)
            )
            found = [row["seq"] for row in connection.execute(held).mappings() if concerns(target_of(row))]
            if found and not dry_run:
                self._database.overwrite_deleted(connection)
                for chunk in in_chunks(found):
                    chosen = review_events.c.seq.in_(chunk)
                    connection.execute(sa.update(review_events).where(chosen).values(comment=None))
        if found and not dry_run:
            self._database.empty_log()
        return len(found)

    def _seen(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return sa.true() if self._tenants is None else table.c.tenant.in_(sorted(self._tenants))

    def _lock(self, connection: Connection, targets: Sequence[Target]) -> dict[Target, Review]:
        """The rows of these targets, made where missing, held until the end of the transaction."""
        for chunk in in_chunks(targets):
            new = {"state": UNREVIEWED, "revision": 0, "updated_at": _EPOCH, "who": ""}
            statement = self._database.insert(reviews).on_conflict_do_nothing()
            connection.execute(statement, [target.columns() | new for target in chunk])
        return self._read(connection, targets, lock=True)

    def _read(self, connection: Connection, targets: Sequence[Target], lock: bool = False) -> dict[Target, Review]:
        found = {target: Review(target) for target in targets}
        for chunk in in_chunks(targets):
            chosen = is_one_of(reviews, chunk) & self._seen(reviews)
            query = sa.select(reviews).where(chosen).order_by(*(reviews.c[name] for name in KEY))
            rows = connection.execute(query.with_for_update() if lock else query).mappings()
            found.update({target_of(row): _review(row) for row in rows})
        return found

    def _stored(self, connection: Connection, batch_id: str) -> list[Target]:
        columns = [review_events.c[name] for name in KEY]
        mine = (review_events.c.batch_id == batch_id) & self._seen(review_events)
        query = sa.select(*columns).where(mine).order_by(*columns)
        return [target_of(row) for row in connection.execute(query).mappings()]

    def _write(self, connection: Connection, steps: Sequence[_Step], who: str, batch_id: str) -> tuple[Review, ...]:
        now = self._database.now()
        after = tuple(Review(s.before.target, s.state, s.before.revision + 1, now, who) for s in steps)
        update = sa.update(reviews).where(is_target(reviews))
        values: dict[str, Any] = {
            name: sa.bindparam(f"new_{name}") for name in ("state", "revision", "updated_at", "who")
        }
        connection.execute(
            update.values(values),
            [
                key_parameters(r.target)
                | {"new_state": r.state, "new_revision": r.revision, "new_updated_at": now, "new_who": who}
                for r in after
            ],
        )
        connection.execute(
            sa.insert(review_events), [_event(s, r, batch_id) for s, r in zip(steps, after, strict=True)]
        )
        return after

    def _events(self, where: sa.ColumnElement[bool], limit: int | None = None) -> list[ReviewEvent]:
        query = (
            sa.select(review_events).where(where & self._seen(review_events)).order_by(review_events.c.seq).limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [self._opened(row) for row in rows]

    def _opened(self, row: Any) -> ReviewEvent:
        sealed, sealer = row["comment"], self._sealer
        opened = sealer.open(row["tenant"], row["batch_id"], sealed) if sealer and sealed is not None else None
        names = ("seq", "decided_at", "who", "from_state", "to_state", "revision", "batch_id", "undo_of")
        plain = {name: row[name] for name in names}
        return ReviewEvent(target=target_of(row), comment=opened, has_comment=sealed is not None, **plain)

    def _seal(self, tenant: str, batch_id: str, comment: str) -> bytes:
        if self._sealer is None:
            raise CommentsLocked
        return self._sealer.seal(tenant, batch_id, comment)


@dataclass(frozen=True, slots=True)
class _Step:
    before: Review
    state: str
    undo_of: int | None
    sealed: bytes | None


def _event(step: _Step, after: Review, batch_id: str) -> dict[str, Any]:
    return after.target.columns() | {
        "decided_at": after.updated_at,
        "who": after.who,
        "from_state": step.before.state,
        "to_state": after.state,
        "revision": after.revision,
        "batch_id": batch_id,
        "undo_of": step.undo_of,
        "comment": step.sealed,
    }


def _review(row: Any) -> Review:
    if row["revision"] == 0:  # made by a decision of somebody else that is not finished or was refused
        return Review(target_of(row))
    return Review(target_of(row), row["state"], row["revision"], row["updated_at"], row["who"])


def _refuse_stale(stale: Iterable[Review]) -> None:
    if found := list(stale):
        raise RevisionConflict(found)
