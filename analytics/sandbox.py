"""A person's SQL on the published views: one SELECT, read-only, no file in reach but the lake's (trust.md 5.2)."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa

from spanfold.analytics import query_gate
from spanfold.analytics.errors import QueryRefused, QueryTooSlow
from spanfold.analytics.failing import failure_told
from spanfold.analytics.time_limit import ended_after

SECONDS = 60.0


def run(snapshot: Path, data: Path, text: str, *, limit: int | None = None, seconds: float = SECONDS) -> pa.Table:
    """Rows of one SELECT, at most `limit`. Raises QueryRefused for anything else, or after `seconds`;
    DatabaseFailed and FileUnreadable."""
    with duckdb.connect(":memory:") as connection:
        confine(connection, snapshot, data)
        check(connection, text)
        if limit is not None:
            text = f"SELECT * FROM (\n{text.strip().rstrip(';')}\n) LIMIT {int(limit)}"
        try:
            with failure_told(), ended_after(connection, seconds):
                return connection.sql(text).to_arrow_table()
        except QueryTooSlow as error:
            raise QueryRefused(f"the query ran longer than {seconds:g} s: narrow its range") from error
        except duckdb.Error as error:
            raise QueryRefused(str(error).replace(str(data.resolve()), "…")) from error


def check(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Raises QueryRefused unless the text is one SELECT that only reads the published views."""
    query_gate.check(connection, text)


def confine(connection: duckdb.DuckDBPyConnection, snapshot: Path, data: Path) -> None:
    """Attaches a snapshot and closes every other way out of this instance."""
    lake = str((data / "lake").resolve()).replace("'", "''")
    connection.execute(f"ATTACH '{str(snapshot).replace(chr(39), chr(39) * 2)}' AS spanfold (READ_ONLY)")
    connection.execute("USE spanfold")
    connection.execute("SET TimeZone = 'UTC'; SET threads = 2; SET memory_limit = '2GB'")
    connection.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
    connection.execute(f"SET temp_directory = ''; SET allowed_directories = ['{lake}/']")
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")
