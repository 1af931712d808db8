"""Jobs have states for what their process does, a number for each attempt at them, a priority, and who submitted them.

A job that was `running` is `planned`: whoever takes it up plans it anew.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from models.spec.table_files.table_io import record_text
from models.spec.wire import JobCreate

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("attempt", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("submitted_by", sa.String(length=64), server_default="", nullable=False))
    connection = op.get_bind()
    jobs = sa.table("jobs", sa.column("number"), sa.column("request"), sa.column("state"))
    connection.execute(sa.update(jobs).where(jobs.c.state == "running").values(state="planned"))
    for row in connection.execute(sa.select(jobs.c.number, jobs.c.request)).all():  # requests are compared by their text
        request = JobCreate.parse_json(row.request, source=f"job {row.number}")
        connection.execute(sa.update(jobs).where(jobs.c.number == row.number).values(request=record_text(request)))
