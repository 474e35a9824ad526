"""One connection pool to the control plane, its transactions, and its migrations at open.

SQLite runs in WAL mode with `synchronous=FULL`: a committed decision survives a power cut. Writing transactions take
the write lock at once (`BEGIN IMMEDIATE`), so that two processes wait for each other instead of failing in the middle.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, make_url

from spanfold.state import tables
from spanfold.state.errors import StateTooNew

BUSY_SECONDS = 15
CHUNK = 500  # rows in one statement; SQLite takes 32,766 parameters
_WRITES = "spanfold_writes"
_MIGRATION_LOCK = 0x5BA4F01D  # any number, the same in every process


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


class Database:
    """Transactions on one SQLAlchemy URL (`sqlite:///FILE` or `postgresql+pg8000://...`), migrated to this release."""

    def __init__(self, url: str, now: Callable[[], dt.datetime] | None = None) -> None:
        self.now = now or (lambda: dt.datetime.now(dt.UTC))
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            _create_private(parsed.database)
        self._engine = sa.create_engine(parsed, pool_pre_ping=parsed.get_backend_name() != "sqlite")
        if self.is_sqlite:
            sa.event.listen(self._engine, "connect", _configure_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
            yield connection

    def insert(self, table: sa.Table) -> Any:
        """An INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update` of this database."""
        from sqlalchemy.dialects import postgresql, sqlite

        return (sqlite if self.is_sqlite else postgresql).insert(table)

    def overwrite_deleted(self, connection: Connection) -> None:
        """What this transaction deletes or replaces is overwritten in the file (SQLite leaves it there otherwise)."""
        if self.is_sqlite:
            connection.exec_driver_sql("PRAGMA secure_delete=ON")

    def empty_log(self) -> None:
        """Takes what was committed out of SQLite's log file, which holds earlier pages too."""
        if self.is_sqlite:
            raw = self._engine.raw_connection()
            try:
                raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                raw.close()

    def close(self) -> None:
        self._engine.dispose()

    def _migrate(self) -> None:
        with self.read() as connection:
            if _current(connection) == tables.HEAD:
                return
        with self.write() as connection:
            if not self.is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            if _current(connection) != tables.HEAD:  # nobody else was first
                upgrade(connection)


def upgrade(connection: Connection) -> None:
    """Run the migrations that this database has not had, inside the caller's transaction."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    try:
        command.upgrade(config, "head")
    except CommandError as error:  # the recorded revision is not one of ours
        raise StateTooNew from error


def in_chunks(rows: Iterable[Any], size: int = CHUNK) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _current(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _create_private(path: str | None) -> None:
    """Make the file before SQLite does, readable by its owner only; SQLite gives its side files the same mode.

    A file that is there is never opened here: closing it would take away the locks that SQLite holds on it for other
    connections of this process, and another process would then delete the log that they go on writing to.
    """
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says, not where the driver guesses
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _switch_to_wal(cursor: sqlite3.Cursor) -> None:
    """SQLite does not wait here by itself: two that switch a new file at once would block each other, so one fails."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
