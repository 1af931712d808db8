"""What names a table's entries is kept beside it; entries are counted by an index; jobs belong to a box."""

from __future__ import annotations

from collections import defaultdict

import sqlalchemy as sa
from alembic import op

from models.spec.table_files.table_io import text_digest
from profiler_service.storage.contents import summed

revision = "0008"
down_revision = "0007"

_CONTENTS = sa.table("contents", sa.column("table_id"), sa.column("digest"))
_MEASUREMENTS = sa.table(
    "measurements",
    *map(sa.column, ("table_id", "key", "record", "digest")),
    sa.column("is_operator", sa.Boolean()),
)


def upgrade() -> None:
    op.create_table(
        "contents",
        sa.Column("table_id", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["table_id"], ["tables.id"], name=op.f("fk_contents_table_id_tables")),
        sa.PrimaryKeyConstraint("table_id", name=op.f("pk_contents")),
    )
    op.create_index(op.f("ix_measurements_table_id"), "measurements", ["table_id", "is_operator", "status"])
    op.add_column("jobs", sa.Column("box", sa.String(length=64), server_default="", nullable=False))
    _name_contents(op.get_bind())


def _name_contents(connection: sa.Connection) -> None:
    """From the records, whatever digests are stored with them."""
    columns = _MEASUREMENTS.c
    digests: defaultdict[str, list[str]] = defaultdict(list)
    for row in connection.execute(sa.select(_MEASUREMENTS)).all():
        digest = text_digest(row.record)
        if digest != row.digest:
            place = sa.and_(columns.table_id == row.table_id, columns.key == row.key)
            connection.execute(sa.update(_MEASUREMENTS).where(place).values(digest=digest))
        if row.is_operator:
            digests[row.table_id].append(digest)
    for table_id, found in digests.items():
        connection.execute(sa.insert(_CONTENTS).values(table_id=table_id, digest=summed(found)))
