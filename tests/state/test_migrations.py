"""The migrations and the declared tables are one schema."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import spanfold.state.database
from spanfold.state.database import Database
from spanfold.state.errors import StateTooNew
from spanfold.state.store import StateStore
from spanfold.state.tables import HEAD, metadata

MIGRATIONS = Path(spanfold.state.database.__file__).parent / "migrations"


def describe(connection: sa.Connection) -> dict[str, Any]:
    """Everything that the database itself says about our tables, triggers included."""
    inspector = sa.inspect(connection)
    tables = {}
    for name in sorted(set(inspector.get_table_names()) - {"alembic_version"}):
        tables[name] = {
            "columns": {c["name"]: (repr(c["type"]), c["nullable"]) for c in inspector.get_columns(name)},
            "key": inspector.get_pk_constraint(name),
            "unique": sorted(map(repr, inspector.get_unique_constraints(name))),
            "checks": sorted((c["name"], c["sqltext"]) for c in inspector.get_check_constraints(name)),
            "indexes": sorted(map(repr, inspector.get_indexes(name))),
        }
    if connection.dialect.name == "sqlite":
        triggers = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
    else:
        triggers = "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname"
    return {"tables": tables, "triggers": [tuple(row) for row in connection.execute(sa.text(triggers))]}


def test_migrations_give_the_declared_schema(url: str) -> None:
    """A database brought up by all migrations has exactly the tables, keys, checks, indexes and triggers declared."""
    database = Database(url)
    with database.read() as connection:
        migrated = describe(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    with database.write() as connection:
        metadata.drop_all(connection)
        if not database.is_sqlite:
            connection.execute(sa.text("DROP FUNCTION review_events_refuse, settings_audit_refuse"))
        metadata.create_all(connection)
        assert describe(connection) == migrated
    assert len(migrated["triggers"]) == 5
    database.close()


def test_head_is_the_newest_migration() -> None:
    """The head that is compared at open is the newest file of the migrations folder."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_opening_twice_keeps_what_is_stored(url: str) -> None:
    """Opening an up-to-date database changes nothing in it (TB-068)."""
    with StateStore(url) as store:
        kept = store.keys.add("prod", who="ann").info
    with StateStore(url) as store:
        assert store.keys.all() == [kept]


def test_database_of_a_later_release_is_refused(url: str) -> None:
    """A database with a migration that this release does not know is not touched."""
    database = Database(url)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(StateTooNew, match="later release"):
        StateStore(url)


def test_eight_processes_may_open_a_new_database_at_once(url: str) -> None:
    """Whoever is first migrates, the others wait and find it done."""
    errors: list[BaseException] = []
    start = threading.Barrier(8)

    def open_it() -> None:
        start.wait()
        try:
            StateStore(url).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_sqlite_file_is_private_and_durable(tmp_path: Path) -> None:
    """state.db and its side files are readable by their owner only, in WAL mode with full fsync."""
    database = Database(f"sqlite:///{tmp_path / 'new' / 'state.db'}")
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE touched (x INTEGER)"))
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 15_000
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "new").iterdir()}
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}
    database.close()


def test_two_stores_of_a_process_lose_nothing_to_another_process(tmp_path: Path) -> None:
    """What a process wrote after it opened its store twice is there for others, who open and close it in between."""
    look = (
        "import sys; from pathlib import Path; from spanfold.state.store import StateStore\n"
        "with StateStore.open(Path(sys.argv[1])) as store: print(len(store.keys.all()))\n"
    )

    def seen_elsewhere() -> int:
        done = subprocess.run([sys.executable, "-c", look, str(tmp_path)], capture_output=True, text=True, check=True)
        return int(done.stdout)

    with StateStore.open(tmp_path) as first, StateStore.open(tmp_path) as second:
        first.keys.add("one", who="ann")
        second.keys.add("two", who="ann")
        StateStore.open(tmp_path).close()
        assert seen_elsewhere() == 2
        first.keys.add("three", who="ann")
        second.keys.add("four", who="ann")
        assert seen_elsewhere() == 4
    assert seen_elsewhere() == 4
