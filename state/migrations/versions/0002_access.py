"""Users, their sessions and tokens; the audit trail becomes a hash chain, earlier lines included."""

from __future__ import annotations

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OLD_COLUMNS = "seq, changed_at, who, area, action, subject, was, became"


def upgrade() -> None:
    create_users()
    create_tokens()
    op.add_column("settings_audit", sa.Column("prev", sa.LargeBinary))
    op.add_column("settings_audit", sa.Column("hash", sa.LargeBinary))
    drop_update_trigger()
    chain_up()
    refuse_updates()


def create_users() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("roles", sa.String(200), nullable=False),
        sa.Column("tenants", sa.Text),
        sa.Column("password", sa.String(300)),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("disabled_at", sa.DateTime),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
    )


def create_tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(20), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("prefix", sa.String(20), nullable=False),
        sa.Column("user_name", sa.String(200), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("used_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False),
        sa.Column("revoked_at", sa.DateTime),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("hash", name="uq_tokens_hash"),
    )
    op.create_index("ix_tokens_user_name", "tokens", ["user_name"])


def drop_update_trigger() -> None:
    on = "" if op.get_bind().dialect.name == "sqlite" else " ON settings_audit"
    op.execute(f"DROP TRIGGER settings_audit_no_update{on}")


def refuse_updates() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    refuse = "BEGIN SELECT RAISE(ABORT, 'settings_audit is append-only'); END"
    if not sqlite:
        refuse = "FOR EACH ROW EXECUTE FUNCTION settings_audit_refuse()"
    columns = f"{OLD_COLUMNS}, prev, hash"
    op.execute(f"CREATE TRIGGER settings_audit_no_update BEFORE UPDATE OF {columns} ON settings_audit {refuse}")


def chain_up() -> None:
    """Gives the lines that are there already their hashes."""
    table = sa.table(
        "settings_audit", sa.column("seq"), sa.column("changed_at", sa.DateTime), *map(sa.column, ("who", "area")),
        *map(sa.column, ("action", "subject", "was", "became")), sa.column("prev", sa.LargeBinary),
        sa.column("hash", sa.LargeBinary),
    )  # fmt: skip
    connection, prev = op.get_bind(), bytes(32)
    for row in connection.execute(sa.select(table).order_by(table.c.seq)).mappings().all():
        time = row["changed_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        fields = [row[name] for name in ("who", "area", "action", "subject", "was", "became")]
        digest = hashlib.sha256(json.dumps([prev.hex(), time, *fields]).encode()).digest()
        connection.execute(sa.update(table).where(table.c.seq == row["seq"]).values(prev=prev, hash=digest))
        prev = digest
