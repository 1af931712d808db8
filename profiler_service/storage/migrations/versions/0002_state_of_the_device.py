"""Visits tell the state of the device that they were timed on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("visits", sa.Column("device", sa.Text(), nullable=True))
