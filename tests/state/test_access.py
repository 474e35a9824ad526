"""Users, sessions, tokens, the default policy, and the audit chain: on SQLite and on PostgreSQL."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa

from spanfold.state import passwords
from spanfold.state.access import ACTIONS, Caller, default_policy, local_caller
from spanfold.state.audit import Verdict
from spanfold.state.database import Database
from spanfold.state.deploys import Deploy
from spanfold.state.errors import Invalid, NotFound
from spanfold.state.store import StateStore
from spanfold.state.targets import Target
from tests.state.conftest import Clock

SECRET = "correct horse battery"


def test_passwords_are_hashes_with_salt() -> None:
    """The same password gives two different hashes; only the right one fits; nobody's hash fits nothing."""
    one, two = passwords.hash_password(SECRET), passwords.hash_password(SECRET)
    assert one != two
    assert SECRET not in one
    assert passwords.fits(SECRET, one)
    assert not passwords.fits(SECRET + "x", one)
    assert not passwords.fits("", None)
    for weak in ("short", "x" * 1025):
        with pytest.raises(Invalid):
            passwords.hash_password(weak)


def test_known_scrypt_value() -> None:
    """A hash made by another program (RFC 7914, second test vector) is understood."""
    digest = bytes.fromhex(
        "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
        "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
    )
    assert passwords._derive("password", b"NaCl", 10, 8, 16)[:32] == digest[:32]


def test_wrong_name_takes_as_long_as_wrong_password(store: StateStore) -> None:
    """[2] The time of a refusal does not tell whether there is such a user."""
    store.users.add("ann", ["read"], password=SECRET, who="root")

    def seconds(name: str) -> float:
        begun = time.process_time()
        assert store.users.check(name, "wrong password!") is None
        return time.process_time() - begun

    known, unknown = (min(seconds(name) for _ in range(3)) for name in ("ann", "nobody"))
    assert 0.5 < known / unknown < 2


def test_users(store: StateStore) -> None:
    """A user signs in with its password until it is disabled; the log tells each change and never a hash."""
    ann = store.users.add(" Ann@Example.com", ["review", "read"], tenants=["acme"], password=SECRET, who="root")
    assert (ann.name, ann.roles, ann.tenants) == ("ann@example.com", {"read", "review"}, {"acme"})
    assert store.users.check("ANN@example.com", SECRET) == ann
    assert store.users.check("ann@example.com", SECRET + "!") is None
    store.users.set_password("ann@example.com", "another long phrase", who="root")
    assert store.users.check("ann@example.com", SECRET) is None
    store.users.disable("ann@example.com", who="root")
    assert store.users.check("ann@example.com", "another long phrase") is None
    assert store.users.get("ann@example.com") is None
    store.users.enable("ann@example.com", who="root")
    assert store.users.change_roles("ann@example.com", ["admin"], who="root").tenants is None
    trail = store.audit.changes("users")
    assert [change.action for change in trail] == ["role", "enable", "disable", "passwd", "add"]
    assert "scrypt" not in repr(trail)
    no_password = store.users.add("bob", ["read"], who="root")
    assert store.users.check("bob", "") is None
    assert not no_password.has_password


@pytest.mark.parametrize(("name", "roles", "tenants"), [
    ("", ["read"], None), ("a\nb", ["read"], None), ("x" * 201, ["read"], None), ("ann", [], None),
    ("ann", ["root"], None), ("ann", ["read"], []), ("ann", ["read"], ["*"]), ("ann", ["read"], [""]),
])  # fmt: skip
def test_users_that_cannot_be(store: StateStore, name: str, roles: list[str], tenants: list[str] | None) -> None:
    """Names, roles and tenants that make no sense are refused, and so is a name twice."""
    with pytest.raises(Invalid):
        store.users.add(name, roles, tenants=tenants, who="root")
    store.users.add("ann", ["read"], who="root")
    with pytest.raises(Invalid, match="already"):
        store.users.add("ANN", ["read"], who="root")
    with pytest.raises(NotFound):
        store.users.disable("nobody", who="root")


def test_sessions_end(store: StateStore, clock: Clock) -> None:
    """[77] A session opens until sign-out, 8 idle hours, 7 days, a new password, a new role, a disabled user."""
    store.users.add("ann", ["read"], tenants=["acme"], password=SECRET, who="root")
    session = store.tokens.start_session("ann", how="password")
    assert store.tokens.caller(session, "session") == Caller("ann", frozenset({"read"}), frozenset({"acme"}), "session")
    assert store.tokens.caller(session, "token") is None
    assert store.tokens.caller(session[:-1], "session") is None
    store.tokens.end_session(session)
    assert store.tokens.caller(session, "session") is None

    idle = store.tokens.start_session("ann", how="password")
    clock.forward(hours=7.9)
    assert store.tokens.caller(idle, "session")
    clock.forward(hours=7.9)
    assert store.tokens.caller(idle, "session")
    clock.forward(hours=8)
    assert store.tokens.caller(idle, "session") is None

    busy = store.tokens.start_session("ann", how="password")
    for _ in range(33):
        clock.forward(hours=5)
        assert store.tokens.caller(busy, "session")
    clock.forward(hours=5)
    assert store.tokens.caller(busy, "session") is None
    for change in (
        lambda: store.users.set_password("ann", SECRET, who="root"),
        lambda: store.users.change_roles("ann", ["review"], who="root"),
        lambda: store.users.disable("ann", who="root"),
    ):
        session = store.tokens.start_session("ann", how="password")
        assert store.tokens.caller(session, "session")
        change()
        assert store.tokens.caller(session, "session") is None


def test_bearer_tokens(store: StateStore, clock: Clock) -> None:
    """A token opens until its date, its revocation or the disabling of its user; only a hash and a prefix are kept."""
    store.users.add("ci", ["export"], who="root")
    secret, info = store.tokens.add("ci", "nightly", days=30, who="root")
    assert store.tokens.caller(secret, "token") == Caller("ci", frozenset({"export"}), None, "token")
    assert secret.startswith(info.prefix)
    assert secret not in repr(store.tokens.all()) + repr(store.audit.changes())
    clock.forward(days=29)
    assert store.tokens.caller(secret, "token")
    clock.forward(days=1)
    assert store.tokens.caller(secret, "token") is None
    other, info = store.tokens.add("ci", "nightly", days=30, who="root")
    store.users.disable("ci", who="root")
    assert store.tokens.caller(other, "token") is None
    store.users.enable("ci", who="root")
    assert store.tokens.caller(other, "token")
    revoked = store.tokens.revoke(info.id, who="root")
    assert store.tokens.caller(other, "token") is None
    clock.forward(days=1)
    assert store.tokens.revoke(info.id, who="root") == revoked
    with pytest.raises(NotFound):
        store.tokens.add("nobody", "x", days=1, who="root")
    with pytest.raises(NotFound):
        store.tokens.revoke("t_none", who="root")


def test_default_policy() -> None:
    """Each role grants its actions, only within the tenants of the caller; anything else is denied (TB-034, TB-035)."""
    granted = {
        "read": {"read", "content"}, "review": {"read", "content", "review"},
        "export": {"read", "content", "export", "sql"}, "admin": set(ACTIONS), "unknown": set(),
    }  # fmt: skip
    for role, actions in granted.items():
        everywhere, here = Caller("ann", frozenset({role})), Caller("ann", frozenset({role}), frozenset({"acme"}))
        for action in (*ACTIONS, "fly"):
            assert default_policy(everywhere, action, "any", "trace") is (action in actions)
            assert default_policy(everywhere, action, "*", "trace") is (action in actions)
            assert default_policy(here, action, "acme", "trace") is (action in actions)
            assert not default_policy(here, action, "other", "trace")
            assert not default_policy(here, action, "*", "trace")
    assert all(default_policy(local_caller("me"), action, "*", "") for action in ACTIONS)


def fill(store: StateStore, lines: int) -> None:
    for number in range(lines):
        store.audit.note("ann", "content", "read", f"trace {number}", {"tenant": "acme"})


def test_chain_of_the_audit_log_holds(store: StateStore) -> None:
    """[90] Every line holds the hash of the line before; a hash noted earlier is found again."""
    assert store.audit.verify() == Verdict(0, "00" * 32)
    fill(store, 3)
    noted = store.audit.verify()
    store.keys.add("prod", who="bob")
    now = store.audit.verify(expect=noted.head)
    assert (noted.lines, now.lines, now.broken, now.expected_found) == (3, 4, None, True)
    assert store.audit.verify(expect="ab" * 32).expected_found is False
    assert [(c.who, c.subject) for c in store.audit.changes("content", limit=1)] == [("ann", "trace 2")]


@pytest.mark.parametrize("change", [
    "UPDATE settings_audit SET who = 'eve' WHERE seq = 3",
    "UPDATE settings_audit SET became = NULL WHERE seq = 3",
    "UPDATE settings_audit SET changed_at = '2026-04-18 12:00:00.000001' WHERE seq = 3",
    "DELETE FROM settings_audit WHERE seq = 3",
    "UPDATE settings_audit SET seq = seq + 100 WHERE seq = 3",
    "UPDATE settings_audit SET prev = NULL, hash = NULL WHERE seq = 3",
])  # fmt: skip
def test_change_in_the_middle_is_found(url: str, clock: Clock, change: str) -> None:
    """[90] A line that somebody changed, removed or moved past the triggers breaks the chain where it was."""
    with StateStore(url, now=clock) as store:
        fill(store, 6)
        database = Database(url)
        drop = "DROP TRIGGER settings_audit_no_{}" + ("" if database.is_sqlite else " ON settings_audit")
        with database.write() as connection:
            for kind in ("update", "delete"):
                connection.exec_driver_sql(drop.format(kind))
            connection.exec_driver_sql(change)
        database.close()
        verdict = store.audit.verify()
        assert verdict.lines == 2
        assert verdict.broken in (3, 4)


def test_writers_in_several_processes_keep_one_chain(url: str) -> None:
    """[90] Four processes and four threads that write at once leave one unbroken chain with all their lines."""
    script = (
        "import sys; from spanfold.state.store import StateStore\n"
        "with StateStore(sys.argv[1]) as store:\n"
        "    for number in range(15): store.audit.note('p', 'content', 'read', str(number))\n"
    )
    with StateStore(url) as store:
        writers = [subprocess.Popen([sys.executable, "-c", script, url]) for _ in range(4)]
        threads = [threading.Thread(target=fill, args=(store, 15)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [writer.wait(60) for writer in writers] == [0] * 4
        verdict = store.audit.verify()
    assert (verdict.lines, verdict.broken) == (120, None)


def test_lines_of_an_earlier_release_are_chained(url: str) -> None:
    """A database of the first shape gets its chain when it is opened; its lines can then not be changed either."""
    database = Database(url)
    with database.write() as connection:
        from alembic import command
        from alembic.config import Config

        from tests.state.test_migrations import MIGRATIONS

        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("path_separator", "os")
        for table in sa.inspect(connection).get_table_names():
            connection.exec_driver_sql(f"DROP TABLE {table}")
        if not database.is_sqlite:
            connection.execute(sa.text("DROP FUNCTION review_events_refuse, settings_audit_refuse"))
        command.upgrade(config, "0001")
        insert = "INSERT INTO settings_audit (changed_at, who, area, action, subject) VALUES ('{}', 'a', 'k', 'b', 'x')"
        for time_ in ("2026-04-18 12:00:00.000000", "2026-04-18 12:00:01.250000"):
            connection.exec_driver_sql(insert.format(time_))
    database.close()
    with StateStore(url) as store:
        verdict = store.audit.verify()
        assert (verdict.lines, verdict.broken) == (2, None)
        assert store.audit.changes()[0].changed_at == dt.datetime(2026, 4, 18, 12, 0, 1, 250_000, dt.UTC)
        store.audit.note("b", "content", "read", "y")
        assert store.audit.verify().lines == 3


def test_reviews_of_another_tenant_are_not_there(store: StateStore) -> None:
    """[11, 13, 14] Who may see tenant a can neither read, decide, undo, count nor lease what belongs to tenant b."""
    theirs, mine = (Target.trace("ab" * 16, tenant=tenant) for tenant in ("b", "a"))
    store.reviews.decide([theirs], "flagged", who="bob", comment="secret", batch_id="act-b")
    store.deploys.add([Deploy(id="d", tenant="b", completed_at=store._database.now(), commit_sha="abcd")], who="ci")
    seen = store.within(frozenset({"a"}))
    assert seen.reviews.get([theirs])[theirs].revision == 0
    assert seen.reviews.history(theirs) == seen.reviews.events() == seen.reviews.decided() == []
    assert seen.reviews.last_event() == 0
    assert seen.reviews.counts()["flagged"] == 0
    for refused in (
        lambda: seen.reviews.decide([theirs], "approved", who="eve"),
        lambda: seen.reviews.decide([mine, theirs], "approved", who="eve"),
        lambda: seen.reviews.undo("act-b", who="eve"),
        lambda: seen.deploys.add([Deploy(tenant="b", completed_at=store._database.now())], who="eve"),
    ):
        with pytest.raises(NotFound):
            refused()
    assert seen.leases.take([theirs, mine], who="eve") == [mine]
    store.leases.take([theirs], who="bob")
    assert seen.leases.holders([theirs, mine]) == {mine: "eve"}
    assert seen.deploys.by_sha("abcd") == seen.deploys.between(limit=5) == []
    assert store.reviews.get([theirs])[theirs].state == "flagged"
    assert [d.id for d in store.within(frozenset({"b"})).deploys.between(limit=5)] == ["d"]
    named_alike = seen.reviews.decide([mine], "approved", who="eve", batch_id="act-b")
    assert not named_alike.repeated
