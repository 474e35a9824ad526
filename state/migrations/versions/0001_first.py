"""The first shape of the control plane. Frozen: a change is a new file."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TARGET = ("tenant", "kind", "trace_id", "span_id", "message_id")
STATES = "('unreviewed', 'approved', 'flagged', 'rejected')"


def target_key() -> list[sa.Column[str]]:
    sizes = (200, 10, 32, 16, 64)
    return [sa.Column(name, sa.String(size), nullable=False) for name, size in zip(TARGET, sizes, strict=True)]


def upgrade() -> None:
    create_reviews()
    create_settings()
    create_keys_and_audit()
    append_only("review_events", "seq, tenant, kind, trace_id, span_id, message_id, decided_at, who, from_state, "
                "to_state, revision, batch_id, undo_of", erasable="comment")  # fmt: skip
    append_only("settings_audit", "seq, changed_at, who, area, action, subject, was, became", erasable=None)


def create_reviews() -> None:
    op.create_table(
        "reviews",
        *target_key(),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("updated_at", sa.DateTime, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint(*TARGET, name="pk_reviews"),
        sa.CheckConstraint("kind IN ('span', 'trace', 'message')", name="ck_reviews_kind"),
        sa.CheckConstraint(f"state IN {STATES}", name="ck_reviews_state"),
    )
    op.create_index("ix_reviews_tenant_state_updated_at", "reviews", ["tenant", "state", "updated_at"])
    op.create_table(
        "review_events",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        *target_key(),
        sa.Column("decided_at", sa.DateTime, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("from_state", sa.String(20), nullable=False),
        sa.Column("to_state", sa.String(20), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("batch_id", sa.String(64), nullable=False),
        sa.Column("undo_of", sa.BigInteger),
        sa.Column("comment", sa.LargeBinary),
        sa.PrimaryKeyConstraint("seq", name="pk_review_events"),
        sa.UniqueConstraint("batch_id", *TARGET, name="uq_review_events_batch"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_review_events_tenant_kind_trace_id_span_id_message_id", "review_events", list(TARGET))
    op.create_table(
        "review_leases",
        *target_key(),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint(*TARGET, name="pk_review_leases"),
    )
    op.create_index("ix_review_leases_who", "review_leases", ["who"])


def create_settings() -> None:
    op.create_table(
        "deploys",
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("id", sa.String(200), nullable=False),
        sa.Column("pr_number", sa.Integer),
        sa.Column("title", sa.Text),
        sa.Column("commit_sha", sa.String(64)),
        sa.Column("author", sa.String(200)),
        sa.Column("service", sa.String(200)),
        sa.Column("environment", sa.String(200)),
        sa.Column("version", sa.String(200)),
        sa.Column("completed_at", sa.DateTime, nullable=False),
        sa.Column("source", sa.String(50), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_deploys"),
    )
    op.create_index("ix_deploys_tenant_completed_at", "deploys", ["tenant", "completed_at"])
    op.create_index("ix_deploys_tenant_commit_sha", "deploys", ["tenant", "commit_sha"])
    op.create_table(
        "redaction_rules",
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("pattern", sa.Text, nullable=False),
        sa.Column("detector", sa.String(100)),
        sa.Column("replacement", sa.String(200), nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("updated_at", sa.DateTime, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_redaction_rules"),
    )
    op.create_table(
        "price_overrides",
        sa.Column("id", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("provider", sa.String(100), nullable=False),
        sa.Column("model_pattern", sa.String(300), nullable=False),
        sa.Column("bucket", sa.String(50), nullable=False),
        sa.Column("price", sa.String(60)),
        sa.Column("unit", sa.String(50), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("valid_from", sa.DateTime, nullable=False),
        sa.Column("known_from", sa.DateTime, nullable=False),
        sa.Column("source", sa.String(300), nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_price_overrides"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_price_overrides_provider_model_pattern_bucket", "price_overrides", ["provider", "model_pattern", "bucket"]
    )


def create_keys_and_audit() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(20), nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("prefix", sa.String(20), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("revoked_at", sa.DateTime),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("hash", name="uq_api_keys_hash"),
    )
    op.create_index("ix_api_keys_prefix", "api_keys", ["prefix"])
    op.create_table(
        "settings_audit",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("changed_at", sa.DateTime, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("area", sa.String(50), nullable=False),
        sa.Column("action", sa.String(50), nullable=False),
        sa.Column("subject", sa.String(400), nullable=False),
        sa.Column("was", sa.Text),
        sa.Column("became", sa.Text),
        sa.PrimaryKeyConstraint("seq", name="pk_settings_audit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_settings_audit_area_changed_at", "settings_audit", ["area", "changed_at"])


def append_only(table: str, fixed: str, erasable: str | None) -> None:
    """Refuse DELETE, UPDATE of a fixed column, and any new value of the erasable one."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    if not sqlite:
        refuse = f"FOR EACH ROW EXECUTE FUNCTION {table}_refuse()"
        op.execute(
            f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
        )
    op.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}")
    op.execute(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE OF {fixed} ON {table} {refuse}")
    if erasable:
        condition = f"NEW.{erasable} IS NOT NULL"
        clause = f"WHEN {condition} {refuse}"
        if not sqlite:
            clause = f"FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {table}_refuse()"
        op.execute(f"CREATE TRIGGER {table}_only_erase BEFORE UPDATE OF {erasable} ON {table} {clause}")
