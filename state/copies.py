"""What of the control plane is copied into the snapshot for plain SQL: an allowlist, column by column.

Never in it: key hashes, comments, rules, leases, and who changed which setting.
"""

from __future__ import annotations

import pyarrow as pa
import sqlalchemy as sa

from spanfold.state.database import Database
from spanfold.state.tables import deploys, review_events, reviews, settings_audit

_TEXT, _INT, _TIME = pa.string(), pa.int64(), pa.timestamp("us")
_TARGET = [("tenant", _TEXT), ("kind", _TEXT), ("trace_id", _TEXT), ("span_id", _TEXT), ("message_id", _TEXT)]

COPIES: dict[str, pa.Schema] = {
    "reviews": pa.schema([*_TARGET, ("state", _TEXT), ("revision", _INT), ("updated_at", _TIME), ("who", _TEXT)]),
    "review_events": pa.schema(
        [
            ("seq", _INT),
            *_TARGET,
            ("decided_at", _TIME),
            ("who", _TEXT),
            ("from_state", _TEXT),
            ("to_state", _TEXT),
            ("revision", _INT),
            ("batch_id", _TEXT),
            ("undo_of", _INT),
            ("has_comment", pa.bool_()),
        ]
    ),
    "deploys": pa.schema(
        [
            ("tenant", _TEXT),
            ("id", _TEXT),
            ("pr_number", _INT),
            ("title", _TEXT),
            ("commit_sha", _TEXT),
            ("author", _TEXT),
            ("service", _TEXT),
            ("environment", _TEXT),
            ("version", _TEXT),
            ("completed_at", _TIME),
            ("source", _TEXT),
        ]
    ),
}

_QUERIES: dict[str, sa.Select[tuple[object, ...]]] = {
    "reviews": sa.select(reviews).where(reviews.c.revision > 0).order_by(*reviews.primary_key.columns),
    "review_events": sa.select(review_events, review_events.c.comment.is_not(None).label("has_comment")).order_by(
        review_events.c.seq
    ),
    "deploys": sa.select(deploys).order_by(deploys.c.tenant, deploys.c.completed_at, deploys.c.id),
}


CopiesVersion = tuple[int, ...]
_OF_DEPLOYS = settings_audit.c.area == "deploys"


def copies_version(database: Database) -> CopiesVersion:
    """Changes whenever a copy would: every change of reviews and deploys adds a line to one of the trails. Other lines
    of the audit log, such as those of content that was read, do not count: they must not publish a snapshot.

    Lines are counted as well, because on PostgreSQL a line with a lower seq may become visible after a higher one.
    """
    version: list[int] = []
    with database.read() as connection:
        for seq, counted in ((review_events.c.seq, sa.true()), (settings_audit.c.seq, _OF_DEPLOYS)):
            newest, count = connection.execute(sa.select(sa.func.max(seq), sa.func.count()).where(counted)).one()
            version += [newest or 0, count]
    return tuple(version)


def read_copies(database: Database) -> dict[str, pa.Table]:
    """The tables of COPIES, of one transaction; ids that do not apply to a target are NULL, times naive UTC."""
    with database.read() as connection:
        return {name: _table(connection, query, COPIES[name]) for name, query in _QUERIES.items()}


def _table(connection: sa.Connection, query: sa.Select[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    chosen = query.with_only_columns(*(query.selected_columns[name] for name in schema.names))
    rows = connection.execute(chosen).all()
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table([_column(values, field) for values, field in zip(columns, schema, strict=True)], schema=schema)


def _column(values: tuple[object, ...], field: pa.Field) -> pa.Array:
    if pa.types.is_timestamp(field.type):
        return pa.array(values, pa.timestamp("us", tz="UTC")).cast(pa.timestamp("us"))
    if field.name in ("trace_id", "span_id", "message_id"):
        return pa.array([value or None for value in values], field.type)
    return pa.array(values, field.type)
