"""What a fold process that has just started knows of the calls before it: the latest turns, read from the lake.

Without them a conversation would break wherever the process was started again.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb

from spanfold.analytics.continuation import Turn
from spanfold.analytics.stored import Columns, select
from spanfold.analytics.views import read_sql
from spanfold.exporter.manifest import Manifest

Linked = tuple[Turn, tuple[str, str] | None]  # a turn, and (trace_id, span_id) of the one it continues


def recent_turns(data: Path, manifest: Manifest, limit: int) -> list[Linked]:
    """The turns of the latest days, oldest first: whole days, as many as hold `limit` turns, or all."""
    days = _latest_days(manifest, limit)
    sql, columns = read_sql("recent_turns"), Columns(data)
    for table in ("contexts", "links", "spans"):
        files = [file for file in manifest.files_of(table) if file.date in days]
        sql = sql.replace(f"{{{table}}}", f"({select(table, columns.groups(table, files))})")
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        rows = connection.sql(sql).fetchall()
    turns: dict[tuple[str, str, str], Linked] = {}
    for tenant, trace, span, direction, key, gram, position, date, start, duration, *stated in rows:
        *facts, before_trace, before_span = stated
        if (tenant, trace, span) not in turns:
            end = start + dt.timedelta(microseconds=max(0, duration) // 1000)
            before = (before_trace, before_span) if before_trace is not None else None
            turns[tenant, trace, span] = (Turn(tenant, trace, span, date, start, end, *facts), before)
        turn = turns[tenant, trace, span][0]
        if direction == "output":
            turn.said = (key, gram)
        else:
            turn.heard, turn.heard_position = (key, gram), position
    return list(turns.values())[-limit:]


def _latest_days(manifest: Manifest, limit: int) -> set[str]:
    days: set[str] = set()
    held = 0
    for day in sorted(manifest.dates("contexts"), reverse=True):
        if held >= 2 * limit:  # a turn has two sides
            break
        days.add(day)
        held += sum(file.rows for file in manifest.files_of("contexts") if file.date == day)
    return days
