"""Keys and tokens that are over their time are marked so: no clock that goes back opens them again."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    for name, over in (("api_keys", "revoked_at"), ("tokens", "expires_at")):
        with op.batch_alter_table(name) as table:
            table.add_column(sa.Column("closed", sa.Boolean, nullable=False, server_default=sa.false()))
        known = sa.table(name, sa.column("closed", sa.Boolean), sa.column(over, sa.DateTime))
        op.execute(sa.update(known).where(known.c[over] <= now).values(closed=True))
