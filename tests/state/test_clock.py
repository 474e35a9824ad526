"""[89] A clock that jumps: what is over stays over, what holds goes on to hold. On SQLite and on PostgreSQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from spanfold.state.database import Database
from spanfold.state.keys import hash_of
from spanfold.state.store import StateStore
from spanfold.state.targets import Target
from tests.state.conftest import START, Clock
from tests.state.test_migrations import MIGRATIONS


def test_revoked_key_stays_closed(store: StateStore, clock: Clock) -> None:
    """A key that was revoked opens nothing at a time before its revocation."""
    key = store.keys.add("prod", who="ann")
    store.keys.revoke(key.info.id, who="ann")
    clock.forward(hours=-1)
    assert store.keys.verify(key.secret) is None
    assert store.keys.open_hashes() == {}
    assert store.keys.revoke(key.info.id, who="bob").revoked_at == START


def test_key_stays_closed_after_its_overlap(store: StateStore, clock: Clock) -> None:
    """A rotated key that anybody saw closed does not open again; before that the clock may go back and forth."""
    looks: list[Callable[[], object]] = [store.keys.open_hashes, store.close_expired]
    for look in looks:
        old = store.keys.add("prod", who="ann")
        new = store.keys.rotate(old.info.id, who="ann", overlap=dt.timedelta(hours=1))
        clock.forward(minutes=30)
        look()
        clock.forward(minutes=-20)
        assert store.keys.verify(old.secret)
        clock.forward(minutes=50)
        look()
        clock.forward(minutes=-40)
        assert store.keys.verify(old.secret) is None
        assert store.keys.verify(new.secret)


def test_expired_token_stays_closed(store: StateStore, clock: Clock) -> None:
    """A token that was over its time when anybody looked opens nothing when the clock goes back; the log has a line."""
    store.users.add("ci", ["export"], who="root")
    other, _ = store.tokens.add("ci", "yearly", days=365, who="root")
    looks: list[Callable[[str], object]] = [
        lambda own: store.tokens.caller(own, "token"), lambda _: store.tokens.caller(other, "token"),
        lambda _: store.close_expired(),
    ]  # fmt: skip
    expired = []
    for look in looks:
        secret, info = store.tokens.add("ci", "nightly", days=30, who="root")
        expired.append(("ci", info.id))
        clock.forward(days=30)
        look(secret)
        look(secret)
        clock.forward(days=-29)
        assert store.tokens.caller(secret, "token") is None
        assert store.tokens.caller(other, "token")
        assert [token.open_at(clock()) for token in store.tokens.all() if token.id == info.id] == [False]
    lines = [(line.who, line.subject) for line in store.audit.changes("tokens") if line.action == "expire"]
    assert lines == expired[::-1]


def test_idle_session_stays_closed(store: StateStore, clock: Clock) -> None:
    """A session that was idle for too long is over, whatever the clock says later, and so after seven days."""
    store.users.add("ann", ["read"], who="root")
    session = store.tokens.start_session("ann", how="password")
    clock.forward(hours=8)
    store.close_expired()
    clock.forward(hours=-4)
    assert store.tokens.caller(session, "session") is None
    assert store.tokens.caller(store.tokens.start_session("ann", how="password"), "session")
    assert len(store.tokens.all(kind="session")) == 1


def test_use_noted_by_a_clock_that_was_ahead(store: StateStore, clock: Clock) -> None:
    """A session used while the clock was seven hours ahead has its eight idle hours from its next use on."""
    store.users.add("ann", ["read"], who="root")
    session = store.tokens.start_session("ann", how="password")
    clock.forward(hours=7)
    assert store.tokens.caller(session, "session")
    clock.forward(hours=-7)
    assert store.tokens.caller(session, "session")
    clock.forward(hours=8)
    assert store.tokens.caller(session, "session") is None


def test_what_is_open_stays_open_when_the_clock_goes_back(store: StateStore, clock: Clock) -> None:
    """Keys, tokens and sessions made before the clock went back two days go on, and new ones open at once."""
    store.users.add("ann", ["read"], who="root")
    for _ in range(2):
        key = store.keys.add("prod", who="ann")
        token, _info = store.tokens.add("ann", "x", days=1, who="root")
        session = store.tokens.start_session("ann", how="password")
        clock.forward(days=-2)
        assert store.keys.verify(key.secret)
        assert store.tokens.caller(token, "token")
        assert store.tokens.caller(session, "session")


def test_lease_of_a_clock_that_was_ahead_locks_nobody_out(store: StateStore, clock: Clock) -> None:
    """Ten minutes are the most that an item is held, also when the clock goes back a day after it was taken."""
    items = [Target.trace("ab" * 16)]
    clock.forward(days=1)
    assert store.leases.take(items, who="ann") == items
    clock.forward(days=-1)
    assert store.leases.holders(items) == {}
    assert store.leases.take(items, who="bob") == items
    assert store.leases.holders(items) == {items[0]: "bob"}


def test_what_cannot_be_marked_now_opens_nothing_all_the_same(
    store: StateStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk an expired token is refused and others open; it is marked at the next look."""
    store.users.add("ci", ["read"], who="root")
    secret, _ = store.tokens.add("ci", "short", days=1, who="root")
    other, _ = store.tokens.add("ci", "long", days=9, who="root")
    clock.forward(days=1)

    def full(_: Database) -> object:
        raise sa.exc.OperationalError("UPDATE", {}, Exception("database or disk is full"))

    with monkeypatch.context() as patched:
        patched.setattr(Database, "write", full)
        assert store.tokens.caller(secret, "token") is None
        assert store.tokens.caller(other, "token")
        store.close_expired()
    assert store.tokens.caller(other, "token")
    clock.forward(days=-1)
    assert store.tokens.caller(secret, "token") is None


def test_what_an_earlier_release_closed_stays_closed(url: str) -> None:
    """A database from before anything was marked: what is over when it is opened is marked then."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("path_separator", "os")
        command.upgrade(config, "0003")
        columns = ("id", "hash", "prefix", "label", "tenant", "created_at", "created_by", "revoked_at")
        keys = sa.table("api_keys", *map(sa.column, columns))
        made = START.replace(tzinfo=None)
        for secret, revoked_at in (("sf_closed", made), ("sf_open", None)):
            values = (secret, hash_of(secret), secret, "prod", "default", made, "ann", revoked_at)
            connection.execute(sa.insert(keys).values(dict(zip(columns, values, strict=True))))
    engine.dispose()
    clock = Clock()
    clock.forward(hours=-1)
    with StateStore(url, now=clock) as store:
        assert store.keys.verify("sf_closed") is None
        assert store.keys.verify("sf_open")
