"""What names a table's entries is kept beside it; entries are counted by an index; jobs belong to a box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from models.spec.table_files.table_io import text_digest
from profiler_service.storage.contents import summed

revision = "0008"
down_revision = "0007"

_AT_ONCE = 5_000
"""Records that are in memory at one time."""

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
    for table_id in connection.scalars(sa.select(columns.table_id).distinct()).all():
        found = summed(())
        for rows in _chunks(connection, table_id):
            digests = [text_digest(row.record) for row in rows]
            for row, digest in zip(rows, digests, strict=True):
                if digest != row.digest:
                    place = sa.and_(columns.table_id == table_id, columns.key == row.key)
                    connection.execute(sa.update(_MEASUREMENTS).where(place).values(digest=digest))
            found = summed([found, *(digest for row, digest in zip(rows, digests, strict=True) if row.is_operator)])
        if found != summed(()):
            connection.execute(sa.insert(_CONTENTS).values(table_id=table_id, digest=found))


def _chunks(connection: sa.Connection, table_id: str) -> Iterator[Sequence[sa.Row[Any]]]:
    """A table's measurements by key, some at a time: records of all of them may be larger than memory."""
    columns, last = _MEASUREMENTS.c, ""
    while True:
        beyond = sa.and_(columns.table_id == table_id, columns.key > last)
        rows = connection.execute(sa.select(_MEASUREMENTS).where(beyond).order_by(columns.key).limit(_AT_ONCE)).all()
        if not rows:
            return
        yield rows
        last = rows[-1].key
