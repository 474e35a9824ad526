"""The control plane's tables: the one place where a state column is declared.

`state/migrations/` brings a database of any earlier release to this shape; a test proves that both give the same.
Times are UTC, stored without zone. Ids that do not apply to a target are '' and not NULL, because they are part of
its key. Two tables are append-only, held by triggers: `review_events` (only a comment may be erased) and
`settings_audit`.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator

HEAD = "0005"  # the newest migration; a test compares it with state/migrations/versions

STATES = ("unreviewed", "approved", "flagged", "rejected")
KINDS = ("span", "trace", "message")


class UtcTime(TypeDecorator[dt.datetime]):
    """An aware datetime outside, a naive one in UTC inside."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return value.astimezone(dt.UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        return None if value is None else value.replace(tzinfo=dt.UTC)


class Amount(TypeDecorator[Decimal]):
    """An exact decimal, stored as its text: SQLite has no decimals, and money must not pass through a float."""

    impl = String(60)
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        return None if value is None else format(value, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


# SQLite counts rows in an INTEGER PRIMARY KEY only; PostgreSQL gets a BIGINT sequence.
_SEQUENCE = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(constraint_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _target_key(primary: bool) -> list[Column[Any]]:
    """What a review is about: a trace, a span of it, or a message (a place in a history, wherever it was sent)."""
    return [
        Column("tenant", String(200), primary_key=primary, nullable=False),
        Column("kind", String(10), primary_key=primary, nullable=False),
        Column("trace_id", String(32), primary_key=primary, nullable=False),
        Column("span_id", String(16), primary_key=primary, nullable=False),
        Column("message_id", String(64), primary_key=primary, nullable=False),
    ]


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(v) for v in values)})", name=column)


reviews = Table(
    "reviews",
    metadata,
    *_target_key(primary=True),
    Column("state", String(20), nullable=False),
    Column("revision", Integer, nullable=False),  # counts decisions on this target; 0 = none yet
    Column("updated_at", UtcTime, nullable=False),
    Column("who", String(200), nullable=False),
    _one_of("kind", KINDS),
    _one_of("state", STATES),
    Index(None, "tenant", "state", "updated_at"),
)

review_events = Table(
    "review_events",
    metadata,
    Column("seq", _SEQUENCE, primary_key=True, autoincrement=True),
    *_target_key(primary=False),
    Column("decided_at", UtcTime, nullable=False),
    Column("who", String(200), nullable=False),
    Column("from_state", String(20), nullable=False),
    Column("to_state", String(20), nullable=False),
    Column("revision", Integer, nullable=False),  # of the target after this event
    Column("batch_id", String(64), nullable=False),  # one act of a person, over one target or many
    Column("undo_of", BigInteger),  # seq of the event that this one takes back
    Column("comment", LargeBinary),  # sealed
    UniqueConstraint("batch_id", "tenant", "kind", "trace_id", "span_id", "message_id", name="batch"),
    Index(None, "tenant", "kind", "trace_id", "span_id", "message_id"),
    sqlite_autoincrement=True,
)

review_leases = Table(
    "review_leases",
    metadata,
    *_target_key(primary=True),
    Column("who", String(200), nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Index(None, "who"),
)

deploys = Table(
    "deploys",
    metadata,
    Column("tenant", String(200), primary_key=True),
    Column("id", String(200), primary_key=True),
    Column("pr_number", Integer),
    Column("title", Text),
    Column("commit_sha", String(64)),
    Column("author", String(200)),
    Column("service", String(200)),
    Column("environment", String(200)),
    Column("version", String(200)),
    Column("completed_at", UtcTime, nullable=False),
    Column("source", String(50), nullable=False),
    Index(None, "tenant", "completed_at"),
    Index(None, "tenant", "commit_sha"),
)

redaction_rules = Table(
    "redaction_rules",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("pattern", Text, nullable=False),
    Column("detector", String(100)),
    Column("replacement", String(200), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("who", String(200), nullable=False),
)

price_overrides = Table(  # bitemporal: never changed, a correction is a row that is known later
    "price_overrides",
    metadata,
    Column("id", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("provider", String(100), nullable=False),
    Column("model_pattern", String(300), nullable=False),
    Column("bucket", String(50), nullable=False),
    Column("price", Amount),  # NULL takes the override back: the built-in price counts again
    Column("unit", String(50), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("valid_from", UtcTime, nullable=False),
    Column("known_from", UtcTime, nullable=False),
    Column("source", String(300), nullable=False),
    Column("who", String(200), nullable=False),
    Column("layer", String(20), nullable=False, server_default="override"),  # imported | negotiated | override
    Column("tier", String(20), nullable=False, server_default="*"),  # service tier; * = every one
    Column("above_tokens", BigInteger, nullable=False, server_default="0"),  # counts above so many input tokens
    Index(None, "provider", "model_pattern", "bucket"),
    sqlite_autoincrement=True,
)

price_aliases = Table(  # bitemporal as well
    "price_aliases",
    metadata,
    Column("id", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("provider", String(100), nullable=False),
    Column("model_pattern", String(300), nullable=False),
    Column("target", String(400)),  # provider/model whose prices count; NULL takes the alias back
    Column("valid_from", UtcTime, nullable=False),
    Column("known_from", UtcTime, nullable=False),
    Column("source", String(300), nullable=False),
    Column("who", String(200), nullable=False),
    sqlite_autoincrement=True,
)

price_books = Table(  # every state of the built-in price list that was ever in force here
    "price_books",
    metadata,
    Column("id", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("source", String(100), nullable=False),  # package and version
    Column("digest", String(64), nullable=False),  # of the uncompressed data
    Column("data", LargeBinary, nullable=False),
    Column("known_from", UtcTime, nullable=False),
    Column("who", String(200), nullable=False),
    sqlite_autoincrement=True,
)

exchange_rates = Table(
    "exchange_rates",
    metadata,
    Column("id", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("currency", String(3), nullable=False),
    Column("day", Date, nullable=False),
    Column("usd", Amount, nullable=False),  # what one unit of the currency is worth
    Column("known_from", UtcTime, nullable=False),
    Column("source", String(300), nullable=False),
    Column("who", String(200), nullable=False),
    sqlite_autoincrement=True,
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(20), primary_key=True),
    Column("hash", LargeBinary, nullable=False),
    Column("prefix", String(20), nullable=False),
    Column("label", String(200), nullable=False),
    Column("tenant", String(200), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("revoked_at", UtcTime),  # from then on it opens nothing; may lie ahead (rotation with overlap)
    Column("closed", Boolean, nullable=False, server_default=sa.false()),  # it was seen past that, whatever clocks say
    UniqueConstraint("hash", name="hash"),
    Index(None, "prefix"),
)

settings_audit = Table(
    "settings_audit",
    metadata,
    Column("seq", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("changed_at", UtcTime, nullable=False),
    Column("who", String(200), nullable=False),
    Column("area", String(50), nullable=False),  # keys, users, content, export ...
    Column("action", String(50), nullable=False),
    Column("subject", String(400), nullable=False),
    Column("was", Text),  # JSON object or NULL
    Column("became", Text),
    Column("prev", LargeBinary),  # hash of the line before
    Column("hash", LargeBinary),
    Index(None, "area", "changed_at"),
    sqlite_autoincrement=True,
)

users = Table(
    "users",
    metadata,
    Column("name", String(200), primary_key=True),  # lower case
    Column("roles", String(200), nullable=False),  # comma separated
    Column("tenants", Text),  # JSON list; NULL = all
    Column("password", String(300)),  # scrypt hash; NULL = signs in elsewhere
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("disabled_at", UtcTime),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(20), primary_key=True),
    Column("kind", String(10), nullable=False),  # session | token
    Column("hash", LargeBinary, nullable=False),
    Column("prefix", String(20), nullable=False),
    Column("user_name", String(200), nullable=False),
    Column("label", String(200), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("used_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
    Column("closed", Boolean, nullable=False, server_default=sa.false()),  # it was seen past its time
    UniqueConstraint("hash", name="hash"),
    Index(None, "user_name"),
)

archive_folders = Table(
    "archive_folders",
    metadata,
    Column("path", Text, primary_key=True),  # absolute
    Column("mark", String(32), nullable=False),  # what the file `.spanfold-archive` in it says
    Column("first_used", UtcTime, nullable=False),
)


def append_only_ddl(table: str, erasable: str | None, columns: list[str]) -> dict[str, list[str]]:
    """Statements per dialect that refuse DELETE and UPDATE, except erasing (`SET erasable = NULL`)."""
    fixed = ", ".join(c for c in columns if c != erasable)
    message = f"{table} is append-only"
    lite = [
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, '{message}'); END",
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE OF {fixed} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END",
    ]
    post = [
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{message}'; END $$",
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_refuse()",
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE OF {fixed} ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_refuse()",
    ]
    if erasable:
        lite.append(
            f"CREATE TRIGGER {table}_only_erase BEFORE UPDATE OF {erasable} ON {table} "
            f"WHEN NEW.{erasable} IS NOT NULL BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
        post.append(
            f"CREATE TRIGGER {table}_only_erase BEFORE UPDATE OF {erasable} ON {table} "
            f"FOR EACH ROW WHEN (NEW.{erasable} IS NOT NULL) EXECUTE FUNCTION {table}_refuse()"
        )
    return {"sqlite": lite, "postgresql": post}


def _create_triggers(table: sa.Table, connection: sa.Connection, **_: Any) -> None:
    erasable = "comment" if table is review_events else None
    statements = append_only_ddl(table.name, erasable, [c.name for c in table.columns])
    for statement in statements[connection.dialect.name]:
        connection.exec_driver_sql(statement)


for _append_only in (review_events, settings_audit):
    sa.event.listen(_append_only, "after_create", _create_triggers)
