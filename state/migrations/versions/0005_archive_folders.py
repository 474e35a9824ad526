"""The folders that retention has written to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "archive_folders",
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("mark", sa.String(32), nullable=False),
        sa.Column("first_used", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("path", name="pk_archive_folders"),
    )
