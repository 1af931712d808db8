"""The scales of targets, and what follows for their tables, within a transaction that the caller holds.

Every measurement of protocol `in_context` is stored in milliseconds of its target's present scale. A scale that moves takes all
of them along, so that no reader ever has to convert.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from models.spec.measurements import Flag, Measurement, ProtocolName, Status
from models.spec.rebuilds import RebuildSpread
from models.spec.scale import Scale
from models.spec.table_files.table_io import record_text, text_digest
from models.spec.tables import TableInfo
from models.spec.verdicts import Verdict, entry_reasons
from profiler_service.measure.sentinel import SLOW, SentinelVisit, learn_scale
from profiler_service.measure.visits import DeviceState, HostState, disturbed, graph_key
from profiler_service.storage import contents
from profiler_service.storage.schema import MeasurementRow, ScaleRow, TableRow, VisitRow, load

_IN_SCALE = (
    *("value_ms", "stderr_ms", "base_ms", "median_ms", "min_ms", "mean_ms", "p95_ms", "p99_ms"),
    *("ci95_low_ms", "ci95_high_ms"),
)
"""Fields of a measurement that are in the scale's milliseconds; the others are plain, or no times."""

_BETTER = 0.04
"""How far a reference must fall, as a fraction, before values that were measured under the old one are looked at again."""

_LEAST_GOOD_ROUNDS = 4


def current(session: Session, target_id: str) -> Scale | None:
    """The target's scale; None before its first visit."""
    text = session.scalar(select(ScaleRow.scale).where(ScaleRow.target_id == target_id))
    return None if text is None else load(Scale, text, f"scale of target {target_id}")


def learn(session: Session, target_id: str) -> Scale | None:
    """Learn the target's scale from all visits to it, and bring its tables to that."""
    before = current(session, target_id)
    scale = learn_scale(_sentinel_visits(session, target_id), before, at=datetime.now(UTC))
    if scale is not None and scale != before:
        put(session, target_id, scale)
    return scale


def put(session: Session, target_id: str, scale: Scale) -> None:
    """Make that the target's scale, and bring its tables to it."""
    before = current(session, target_id)
    session.merge(ScaleRow(target_id=target_id, scale=record_text(scale)))
    if before is None or before.reference_ms == scale.reference_ms:
        return
    for table in _tables(session, target_id):
        rescale_table(session, table, scale, factor=scale.reference_ms / before.reference_ms)


def rescale_table(session: Session, table: TableRow, scale: Scale, *, factor: float) -> None:
    """Multiply a table's values by `factor`, which brings them to the scale.

    Where the scale has fallen well below the old one, visits that counted as quiet turn out to have been slow: entries with too
    few others are flagged as contaminated, and the table's verdict in lists says so.
    """
    slow = _slow_graphs(session, table.id, scale) if factor < 1 - _BETTER and scale.settled else frozenset()
    rows = session.execute(
        select(MeasurementRow.key, MeasurementRow.record, MeasurementRow.digest, MeasurementRow.is_operator).where(
            MeasurementRow.table_id == table.id, MeasurementRow.status == Status.OK
        )
    ).all()
    changes: list[dict[str, str]] = []
    found: list[Measurement] = []
    for row in rows:
        measurement = rescaled(load(Measurement, row.record, f"table {table.id}, key {row.key}"), factor)
        if slow and graph_key(measurement.workload, ProtocolName.IN_CONTEXT) in slow:
            measurement = measurement.model_copy(update={"flags": tuple(sorted({*measurement.flags, Flag.CONTAMINATED}))})
        found.append(measurement)
        text = record_text(measurement)
        changes.append({"table_id": table.id, "key": row.key, "record": text, "digest": text_digest(text)})
    if changes:
        session.execute(update(MeasurementRow), changes)
        pairs = [(row.digest, change["digest"]) for row, change in zip(rows, changes, strict=True) if row.is_operator]
        contents.change(session, table.id, removed=(old for old, _ in pairs), added=(new for _, new in pairs))
    if slow:
        table.entry_verdict = record_text(Verdict.of(entry_reasons([*found, *_failed(session, table.id)])))
    info = load(TableInfo, table.info, f"table {table.id}")
    if info.rebuild_spread is not None:
        spread = _rescaled_spread(info.rebuild_spread, factor)
        table.info = record_text(info.model_copy(update={"rebuild_spread": spread}))


def _failed(session: Session, table_id: str) -> list[Measurement]:
    """The table's measurements without a value."""
    failed = select(MeasurementRow.key, MeasurementRow.record).where(
        MeasurementRow.table_id == table_id, MeasurementRow.status != Status.OK
    )
    return [load(Measurement, row.record, f"table {table_id}, key {row.key}") for row in session.execute(failed)]


def rescaled(measurement: Measurement, factor: float) -> Measurement:
    """The measurement with its scaled times multiplied by `factor`."""
    if factor == 1 or measurement.value_ms is None:
        return measurement
    changed: dict[str, Any] = {name: value * factor for name in _IN_SCALE if (value := getattr(measurement, name)) is not None}
    if measurement.sentinel_ratio is not None:
        changed["sentinel_ratio"] = measurement.sentinel_ratio / factor
    return measurement.model_copy(update=changed)


def _rescaled_spread(spread: RebuildSpread, factor: float) -> RebuildSpread:
    entries = tuple(
        entry.model_copy(update={name: getattr(entry, name) * factor for name in ("value_ms", "between_ms", "within_ms")})
        for entry in spread.entries
    )
    return spread.model_copy(update={"entries": entries})


def _tables(session: Session, target_id: str) -> list[TableRow]:
    """The target's tables whose values are in sentinel units."""
    found = session.scalars(select(TableRow).where(TableRow.target_id == target_id)).all()
    return [table for table in found if protocol_of(table) is ProtocolName.IN_CONTEXT]


def protocol_of(table: TableRow) -> ProtocolName:
    """The protocol of a stored table."""
    return load(TableInfo, table.info, f"table {table.id}").protocol


def _sentinel_visits(session: Session, target_id: str) -> Iterator[SentinelVisit]:
    """Every visit of the target's tables once, whatever it visited. Isolated protocols time the sentinel by itself, when its
    caches are warmer, and say nothing about this scale.
    """
    ids = [table.id for table in _tables(session, target_id)]
    rows = session.execute(
        select(
            func.min(VisitRow.sentinel_ms).label("sentinel_ms"),
            func.min(VisitRow.started_at).label("started_at"),
            func.min(VisitRow.device).label("device"),
            func.min(VisitRow.host).label("host"),
        )
        .where(VisitRow.table_id.in_(ids))
        .group_by(VisitRow.table_id, VisitRow.round, VisitRow.visit, VisitRow.started_at)
    )
    for row in rows:
        device = None if row.device is None else load(DeviceState, row.device, "visit")
        host = None if row.host is None else load(HostState, row.host, "visit")
        slowed = disturbed(device, host) or (device is not None and device.throttled)
        seen = host is not None or device is not None
        yield SentinelVisit(row.sentinel_ms, _aware(row.started_at), disturbed=slowed, seen=seen)


def _aware(value: datetime) -> datetime:
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _slow_graphs(session: Session, table_id: str, scale: Scale) -> frozenset[str]:
    """Graphs with too few rounds in which the sentinel was near its reference."""
    limit_ms = (1 + SLOW) * scale.reference_ms
    good = func.count(func.distinct(VisitRow.round)).filter(VisitRow.accepted, VisitRow.sentinel_ms <= limit_ms)
    rows = session.execute(
        select(VisitRow.graph_key, good.label("good")).where(VisitRow.table_id == table_id).group_by(VisitRow.graph_key)
    )
    return frozenset(row.graph_key for row in rows if row.good < _LEAST_GOOD_ROUNDS)


def require_one_scale(here: Scale, there: Scale) -> bool:
    """Whether two scales may be those of one target: within four per cent and three standard errors, or one is unsettled."""
    ratio = there.reference_ms / here.reference_ms
    allowed = _BETTER + 3 * (here.relative_stderr**2 + there.relative_stderr**2) ** 0.5
    return abs(ratio - 1) <= allowed or not (here.settled and there.settled)
