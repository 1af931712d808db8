"""Tables and their measurements, within a transaction that the caller holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from models.spec.errors import TableMismatchError
from models.spec.measurements import Measurement, Status
from models.spec.operators import OperatorSpec
from models.spec.rebuilds import RebuildSpread, merged
from models.spec.scale import Scale
from models.spec.table_files.etag import etag_of, record_text, text_digest
from models.spec.tables import Table, TableInfo
from models.spec.wire import TablePublic
from profiler_service.errors import TableNotFoundError
from profiler_service.storage.records import among, load
from profiler_service.storage.schema import MeasurementRow, TableRow

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def ensure(session: Session, info: TableInfo) -> str:
    """The id of the table with that identity, made now unless it exists; then the first one's provenance stays."""
    table_id = info.id()
    stored = info.model_copy(update={"scale": None, "created_at": info.created_at or datetime.now(UTC)})
    session.execute(
        insert(TableRow)
        .values(id=table_id, info=record_text(stored), sentinel_reference_ms=_reference(info))
        .on_conflict_do_nothing()
    )
    return table_id


def _reference(info: TableInfo) -> float | None:
    return None if info.scale is None else info.scale.reference_ms


def require(session: Session, table_id: str) -> TableRow:
    """The row of that table. Raises TableNotFoundError."""
    row = session.get(TableRow, table_id)
    if row is None:
        raise TableNotFoundError(
            f"no table {table_id!r}", hint="List the tables with `profiler-service tables` or GET /v1/tables."
        )
    return row


def info(session: Session, table_id: str) -> TableInfo:
    """The table's identity and provenance. Raises TableNotFoundError."""
    row = require(session, table_id)
    stored = load(TableInfo, row.info, f"table {table_id}")
    return stored.model_copy(
        update={"scale": None if row.sentinel_reference_ms is None else Scale(reference_ms=row.sentinel_reference_ms)}
    )


def set_reference(session: Session, table_id: str, reference_ms: float) -> float:
    """Set the sentinel reference unless there is one, and return the one in force. Raises TableNotFoundError."""
    row = require(session, table_id)
    if row.sentinel_reference_ms is None:
        row.sentinel_reference_ms = reference_ms
    return row.sentinel_reference_ms


def add_rebuild_spread(session: Session, table_id: str, spread: RebuildSpread) -> None:
    """Keep the spread beside what is known of other entries. Raises TableNotFoundError."""
    row = require(session, table_id)
    stored = load(TableInfo, row.info, f"table {table_id}")
    known = stored.rebuild_spread
    spread = spread if known is None else merged(known, spread)
    row.info = record_text(stored.model_copy(update={"rebuild_spread": spread}))


def summary(session: Session, table_id: str) -> TablePublic:
    """The table as it stands in a list, without reading its records. Raises TableNotFoundError."""
    identity = info(session, table_id)
    rows = session.execute(
        select(MeasurementRow.digest, MeasurementRow.status).where(
            MeasurementRow.table_id == table_id, MeasurementRow.is_operator
        )
    ).all()
    return TablePublic(
        id=table_id,
        info=identity,
        entries=len(rows),
        failed=sum(row.status != Status.OK for row in rows),
        etag=etag_of(identity, (row.digest for row in rows)),
    )


def summaries(session: Session) -> list[TablePublic]:
    """Every table, oldest first."""
    found = [summary(session, table_id) for table_id in session.scalars(select(TableRow.id))]
    return sorted(found, key=lambda table: (table.info.created_at or _LONG_AGO, table.id))


def table(session: Session, table_id: str) -> Table:
    """The table with the measurements of its operators. Raises TableNotFoundError."""
    texts = session.scalars(
        select(MeasurementRow.record).where(MeasurementRow.table_id == table_id, MeasurementRow.is_operator)
    )
    entries = tuple(load(Measurement, text, f"table {table_id}") for text in texts)
    return Table(info=info(session, table_id), entries=entries)


def measurements(session: Session, table_id: str, keys: Iterable[str]) -> dict[str, Measurement]:
    """Key to measurement, of those keys that the table has. Raises TableNotFoundError."""
    require(session, table_id)
    rows = session.execute(
        select(MeasurementRow.key, MeasurementRow.record).where(
            MeasurementRow.table_id == table_id, among(MeasurementRow.key, keys)
        )
    )
    return {row.key: load(Measurement, row.record, f"table {table_id}, key {row.key}") for row in rows}


def keys(session: Session, table_id: str, prefix: str) -> list[str]:
    """Keys of the workloads with a measurement that begin so, sorted. Raises TableNotFoundError."""
    require(session, table_id)
    found = select(MeasurementRow.key).where(
        MeasurementRow.table_id == table_id, MeasurementRow.key.startswith(prefix, autoescape=True)
    )
    return list(session.scalars(found.order_by(MeasurementRow.key)))


def save(session: Session, table_id: str, measurements: Sequence[Measurement]) -> None:
    """Store measurements, in place of earlier ones of the same workloads. Raises TableNotFoundError."""
    require(session, table_id)
    if not measurements:
        return
    statement = insert(MeasurementRow)
    new = statement.excluded
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[MeasurementRow.table_id, MeasurementRow.key],
            set_={"status": new.status, "record": new.record, "digest": new.digest},
        ),
        [_values(table_id, measurement) for measurement in measurements],
    )


def import_table(session: Session, imported: Table) -> str:
    """Add a table, or what one of the same identity lacks; a good measurement that is here already stays.

    Raises:
        TableMismatchError: the two are in units of different sentinel references, so that their numbers do not compare.
    """
    table_id = ensure(session, imported.info)
    row, there = require(session, table_id), _reference(imported.info)
    here = row.sentinel_reference_ms
    has_rows = session.scalar(select(func.count()).where(MeasurementRow.table_id == table_id))
    if here != there and (here is not None or has_rows):
        raise TableMismatchError(
            f"the tables must not be mixed: sentinel_reference_ms: {here} here, {there} there",
            hint="Import it into another database with --database.",
        )
    row.sentinel_reference_ms = there
    good = session.scalars(
        select(MeasurementRow.key).where(MeasurementRow.table_id == table_id, MeasurementRow.status == Status.OK)
    )
    kept = set(good)
    save(session, table_id, [entry for entry in imported.entries if entry.key() not in kept])
    return table_id


def _values(table_id: str, measurement: Measurement) -> dict[str, object]:
    text = record_text(measurement)
    return {
        "table_id": table_id,
        "key": measurement.key(),
        "is_operator": isinstance(measurement.workload, OperatorSpec),
        "status": measurement.status.value,
        "record": text,
        "digest": text_digest(text),
    }
