"""Layers, tiers and long contexts of stated prices; aliases, kept price books and exchange rates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("price_overrides") as table:
        table.add_column(sa.Column("layer", sa.String(20), nullable=False, server_default="override"))
        table.add_column(sa.Column("tier", sa.String(20), nullable=False, server_default="*"))
        table.add_column(sa.Column("above_tokens", sa.BigInteger(), nullable=False, server_default="0"))
    create_aliases_and_books()
    op.create_table(
        "exchange_rates",
        sa.Column("id", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("usd", sa.String(60), nullable=False),
        sa.Column("known_from", sa.DateTime, nullable=False),
        sa.Column("source", sa.String(300), nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_exchange_rates"),
        sqlite_autoincrement=True,
    )


def create_aliases_and_books() -> None:
    op.create_table(
        "price_aliases",
        sa.Column("id", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("provider", sa.String(100), nullable=False),
        sa.Column("model_pattern", sa.String(300), nullable=False),
        sa.Column("target", sa.String(400)),
        sa.Column("valid_from", sa.DateTime, nullable=False),
        sa.Column("known_from", sa.DateTime, nullable=False),
        sa.Column("source", sa.String(300), nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_price_aliases"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "price_books",
        sa.Column("id", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("source", sa.String(100), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("known_from", sa.DateTime, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_price_books"),
        sqlite_autoincrement=True,
    )
