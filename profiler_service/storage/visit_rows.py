"""Visits, within a transaction that the caller holds."""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from models.spec.table_files.table_io import record_text
from profiler_service.errors import StorageError
from profiler_service.measure.visits import DeviceState, HostState, Visit
from profiler_service.storage.dialects import among, insert
from profiler_service.storage.schema import VisitRow
from profiler_service.storage.schema import load as load_record
from profiler_service.storage.table_rows import require


def save(session: Session, table_id: str, visits: Sequence[Visit]) -> None:
    """Store visits, in place of earlier ones of the same graph, round and group. Raises TableNotFoundError."""
    require(session, table_id)
    if not visits:
        return
    statement = insert(session, VisitRow)
    new = statement.excluded
    changed = ("samples", "sentinel_ms", "passes", "accepted", "started_at", "device", "host")
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[VisitRow.table_id, VisitRow.graph_key, VisitRow.round, VisitRow.visit],
            set_={name: new[name] for name in changed},
        ),
        [_values(table_id, visit) for visit in visits],
    )


def load(session: Session, table_id: str, graph_keys: Iterable[str]) -> list[Visit]:
    """The visits of those graphs by graph, round and group. Raises TableNotFoundError, StorageError."""
    require(session, table_id)
    rows = session.scalars(
        select(VisitRow)
        .where(VisitRow.table_id == table_id, among(VisitRow.graph_key, graph_keys))
        .order_by(VisitRow.graph_key, VisitRow.round, VisitRow.visit)
    )
    return [_visit(row) for row in rows]


def graphs(session: Session, table_id: str) -> list[str]:
    """Keys of the graphs that have visits, sorted. Raises TableNotFoundError."""
    require(session, table_id)
    found = select(VisitRow.graph_key).where(VisitRow.table_id == table_id).distinct().order_by(VisitRow.graph_key)
    return list(session.scalars(found))


def forget(
    session: Session, table_id: str, graph_keys: Iterable[str], before: datetime, slower_than_ms: float | None = None
) -> None:
    """Delete the visits of those graphs that started before an instant. Raises TableNotFoundError.

    Where `slower_than_ms` is given, only those that do not count as good: rejected, or with a slower sentinel.
    """
    require(session, table_id)
    condition = and_(VisitRow.table_id == table_id, among(VisitRow.graph_key, graph_keys), VisitRow.started_at < before)
    if slower_than_ms is not None:
        condition = and_(condition, or_(~VisitRow.accepted, VisitRow.sentinel_ms > slower_than_ms))
    session.execute(delete(VisitRow).where(condition))


def count(session: Session, table_id: str, since: datetime) -> int:
    """How many visits of the table started at that instant or later. Raises TableNotFoundError."""
    require(session, table_id)
    found = select(func.count()).select_from(VisitRow).where(VisitRow.table_id == table_id, VisitRow.started_at >= since)
    return session.scalars(found).one()


def next_round(session: Session, table_id: str) -> int:
    """The number of a round in which nothing of the table was visited. Raises TableNotFoundError."""
    require(session, table_id)
    last = session.scalar(select(func.max(VisitRow.round)).where(VisitRow.table_id == table_id))
    return 0 if last is None else last + 1


def pack(samples_ms: Sequence[float]) -> bytes:
    """Single precision, little-endian, compressed: 7 digits are more than any clock gives."""
    samples = array("f", samples_ms)
    if sys.byteorder == "big":
        samples.byteswap()
    return zlib.compress(samples.tobytes())


def unpack(data: bytes) -> tuple[float, ...]:
    """The samples in milliseconds. Raises StorageError where `data` is damaged."""
    samples = array("f")
    try:
        samples.frombytes(zlib.decompress(data))
    except (zlib.error, ValueError) as error:
        raise StorageError(
            f"the samples of a visit are damaged: {error}",
            hint="Restore the database from a copy, or measure into a new one with --database.",
        ) from error
    if sys.byteorder == "big":
        samples.byteswap()
    return tuple(samples)


def _values(table_id: str, visit: Visit) -> dict[str, object]:
    device = None if visit.device is None else record_text(visit.device)
    return visit.model_dump(exclude={"samples_ms"}) | {
        "table_id": table_id,
        "samples": pack(visit.samples_ms),
        "device": device,
        "host": None if visit.host is None else record_text(visit.host),
    }


def _visit(row: VisitRow) -> Visit:
    return Visit(
        graph_key=row.graph_key,
        round=row.round,
        visit=row.visit,
        samples_ms=unpack(row.samples),
        sentinel_ms=row.sentinel_ms,
        passes=row.passes,
        accepted=row.accepted,
        started_at=row.started_at,
        device=None if row.device is None else load_record(DeviceState, row.device, f"visit of {row.graph_key}"),
        host=None if row.host is None else load_record(HostState, row.host, f"visit of {row.graph_key}"),
    )
