"""A snapshot of some tenants only: the published file copied, its stored tables cut down before any view reads them.

Every public view is built on `lake.<table>` and on a few copied tables, so that nothing which reads the copy (named
queries, exports, a person's own SQL) can see another tenant, whatever its text says.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path

import duckdb

from spanfold.analytics.statements import literal
from spanfold.semconv.schema import TABLES

COPIED = ("reviews", "review_events", "deploys", "anomalies")  # tables of the snapshot with a column `tenant`
_BODY = re.compile(r'CREATE VIEW (?:"?\w+"?\.)*"?\w+"? AS\s+(.*?);?\s*', re.DOTALL)


def cut_down(snapshot: Path, target: Path, tenants: Collection[str]) -> None:
    """Write `target`: `snapshot` with the rows of these tenants only."""
    shutil.copyfile(snapshot, target)
    target.chmod(0o600)
    kept = f"tenant IN ({', '.join(map(literal, sorted(tenants)))})" if tenants else "false"
    with duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": False}) as connection:
        connection.execute(f"ATTACH {literal(str(target))} AS snapshot")
        connection.execute("USE snapshot; BEGIN")
        for table, text in _stored_tables(connection).items():
            connection.execute(f"CREATE OR REPLACE VIEW lake.{table} AS SELECT * FROM ({text}) WHERE {kept}")
        for table in COPIED:
            connection.execute(f"DELETE FROM {table} WHERE NOT ({kept})")
        # how many spans there are in all is nobody's business but theirs
        connection.execute("UPDATE meta.snapshot SET spans = (SELECT count(*) FROM lake.spans)")
        connection.execute("COMMIT; USE memory; DETACH snapshot")


def tenants_of(cursor: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Every tenant that has spans, logs or metrics in a whole snapshot."""
    parts = " UNION ".join(f"SELECT DISTINCT tenant FROM lake.{table}" for table in ("spans", "logs", "metrics"))
    return frozenset(row[0] for row in cursor.execute(parts).fetchall())


def _stored_tables(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """name -> the SELECT of the view over its files."""
    found = connection.execute(
        "SELECT view_name, sql FROM duckdb_views() WHERE database_name = 'snapshot' AND schema_name = 'lake'"
    ).fetchall()
    texts = {name: _BODY.fullmatch(sql) for name, sql in found if name in TABLES}
    if missing := sorted(set(TABLES) - {name for name, match in texts.items() if match}):
        raise ValueError(f"the snapshot has no view that can be cut down over {', '.join(missing)}")
    return {name: match[1] for name, match in texts.items() if match}
