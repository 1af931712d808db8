"""Scales belong to targets and are learned from all visits; visits tell what else the host did.

Until now each table had a reference of its own, set by its first job. Here each target gets a scale from the visits that are
stored, and the values of its tables are brought to it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.orm import Session

from models.spec.measurements import ProtocolName
from models.spec.scale import Scale
from models.spec.table_files.table_io import record_text
from models.spec.tables import OLD_SCALE, TableInfo
from models.spec.wire import JobCreate
from profiler_service.storage import scale_rows, table_rows
from profiler_service.storage.schema import Base, TableRow

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "scales",
        sa.Column("target_id", sa.String(length=16), nullable=False),
        sa.Column("scale", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("target_id", name=op.f("pk_scales")),
    )
    op.add_column("visits", sa.Column("host", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("verdict", sa.Text(), nullable=True))
    op.add_column("tables", sa.Column("plain_check", sa.Text(), nullable=True))
    op.add_column("tables", sa.Column("entry_verdict", sa.Text(), nullable=True))
    op.add_column("tables", sa.Column("target_id", sa.String(length=16), nullable=True))
    connection = op.get_bind()
    _write_requests_anew(connection)
    references = _fill_targets(connection)
    with op.batch_alter_table("tables") as tables:
        tables.alter_column("target_id", nullable=False)
        tables.drop_column("sentinel_reference_ms")
    op.create_index(op.f("ix_tables_target_id"), "tables", ["target_id"])
    # What changes values keeps the table of contents, too, which 0008 makes and fills.
    contents = Base.metadata.tables["contents"]
    contents.create(connection)
    with Session(bind=connection) as session:
        _learn(session, references)
        session.flush()
        for table_id in session.scalars(sa.select(TableRow.id)).all():
            table_rows.update_verdict(session, table_id)
        session.flush()
    contents.drop(connection)


def _write_requests_anew(connection: sa.Connection) -> None:
    """`rebuild` was true, false or absent, and is a word now; requests are compared by their text."""
    jobs = sa.table("jobs", sa.column("number"), sa.column("request"))
    for row in connection.execute(sa.select(jobs)).all():
        request = JobCreate.parse_json(row.request, source=f"job {row.number}")
        connection.execute(sa.update(jobs).where(jobs.c.number == row.number).values(request=record_text(request)))


def _fill_targets(connection: sa.Connection) -> dict[str, float]:
    """Each table's target; the references of those that had one."""
    tables = sa.table("tables", sa.column("id"), sa.column("info"), sa.column("sentinel_reference_ms"), sa.column("target_id"))
    references = {}
    for row in connection.execute(sa.select(tables)).all():
        info = TableInfo.parse_json(row.info, source=f"table {row.id}")
        connection.execute(sa.update(tables).where(tables.c.id == row.id).values(target_id=info.target.id()))
        if row.sentinel_reference_ms is not None and info.protocol is ProtocolName.IN_CONTEXT:
            references[row.id] = row.sentinel_reference_ms
    return references


def _learn(session: Session, references: dict[str, float]) -> None:
    """The scale of every target with a reference, learned from its visits, and its tables brought to it."""
    tables = [session.get_one(TableRow, table_id) for table_id in references]
    for target_id in sorted({table.target_id for table in tables}):
        mine = [table for table in tables if table.target_id == target_id]
        scale = scale_rows.learn(session, target_id)
        if scale is None:  # imported without visits: the reference that most values came with
            scale = Scale(reference_ms=references[mine[0].id], unsettled=OLD_SCALE)
            scale_rows.put(session, target_id, scale)
        for table in mine:
            scale_rows.rescale_table(session, table, scale, factor=scale.reference_ms / references[table.id])
