"""Tables and their measurements, within a transaction that the caller holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models.plugins import joined_versions
from models.spec.errors import TableMismatchError
from models.spec.measurements import Measurement, ProtocolName, Status
from models.spec.operators import OperatorSpec
from models.spec.rebuilds import RebuildSpread, merged
from models.spec.scale import CheckOutcome, Scale, ScaleCheck
from models.spec.table_files.columns import TableColumns
from models.spec.table_files.table_io import record_text, text_digest
from models.spec.tables import Table, TableInfo
from models.spec.verdicts import Judged, Verdict, entry_reasons, scale_reasons
from models.spec.wire import TablePublic
from profiler_service.errors import TableNotFoundError
from profiler_service.storage import contents, scale_rows
from profiler_service.storage.dialects import among, insert
from profiler_service.storage.schema import MeasurementRow, TableRow, load
from profiler_service.storage.table_columns import table_columns

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def ensure(session: Session, info: TableInfo) -> str:
    """The id of the table with that identity, made now unless it exists; then the first one's provenance stays, and versions of
    plugins are added.
    """
    table_id = info.id()
    stored = info.model_copy(update={"scale": None, "check": None, "created_at": info.created_at or datetime.now(UTC)})
    new = insert(session, TableRow).values(id=table_id, info=record_text(stored), target_id=info.target.id())
    session.execute(new.on_conflict_do_nothing())
    _keep_up(session, table_id, info)
    return table_id


def _keep_up(session: Session, table_id: str, now: TableInfo) -> None:
    """Keep the settings under which the table's target is measured now, which tables of earlier releases have not, and add the
    versions of the plugins that it is measured with now.
    """
    row = require(session, table_id)
    stored = load(TableInfo, row.info, f"table {table_id}")
    target = stored.target if now.target.settings is None else now.target
    provenance = stored.provenance | joined_versions(stored.provenance, now.provenance)
    if (target.settings, provenance) != (stored.target.settings, stored.provenance):
        row.info = record_text(stored.model_copy(update={"target": target, "provenance": provenance}))


def require(session: Session, table_id: str) -> TableRow:
    """The row of that table. Raises TableNotFoundError."""
    row = session.get(TableRow, table_id)
    if row is None:
        raise TableNotFoundError(
            f"no table {table_id!r}", hint="List the tables with `profiler-service tables` or GET /v1/tables."
        )
    return row


def info(session: Session, table_id: str) -> TableInfo:
    """The table's identity and provenance, with its target's scale. Raises TableNotFoundError."""
    row = require(session, table_id)
    stored = load(TableInfo, row.info, f"table {table_id}")
    check = None if row.plain_check is None else load(ScaleCheck, row.plain_check, f"table {table_id}")
    scale = scale_rows.current(session, row.target_id) if stored.protocol is ProtocolName.IN_CONTEXT else None
    return stored.model_copy(update={"scale": scale, "check": check})


def update_verdict(session: Session, table_id: str) -> Verdict:
    """The verdict on the table; what its entries alone allow is stored, so that lists need not read them."""
    return set_verdict(session, table_id, records(session, table_id).columns().qualities())


def set_verdict(session: Session, table_id: str, entries: Sequence[Judged]) -> Verdict:
    """As `update_verdict`, from entries that were read before."""
    row = require(session, table_id)
    row.entry_verdict = record_text(Verdict.of(entry_reasons(entries)))
    return Verdict.of([*scale_reasons(info(session, table_id)), *entry_reasons(entries)])


def _verdict(row: TableRow, known: TableInfo) -> Verdict | None:
    if row.entry_verdict is None:
        return None
    entries = load(Verdict, row.entry_verdict, f"table {row.id}")
    return Verdict.of([*scale_reasons(known), *entries.reasons])


def set_check(session: Session, table_id: str, check: ScaleCheck) -> None:
    """Keep how a plain check of the table came out. One that found no quiet moment says nothing, and does not replace another
    that disagreed. Raises TableNotFoundError.
    """
    row, before = require(session, table_id), info(session, table_id).check
    if check.outcome is CheckOutcome.NOT_QUIET and before is not None and before.outcome is CheckOutcome.DISAGREES:
        return
    row.plain_check = record_text(check)


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
    operators = select(MeasurementRow.status, func.count().label("number")).where(
        MeasurementRow.table_id == table_id, MeasurementRow.is_operator
    )
    numbers = {row.status: int(row.number) for row in session.execute(operators.group_by(MeasurementRow.status))}
    entries = sum(numbers.values())
    return TablePublic(
        id=table_id,
        info=identity,
        entries=entries,
        failed=entries - numbers.get(Status.OK.value, 0),
        etag=contents.etag(session, table_id, identity),
        verdict=_verdict(require(session, table_id), identity),
    )


def etag(session: Session, table_id: str) -> str:
    """The tag that `summary` has, without counting anything. Raises TableNotFoundError."""
    return contents.etag(session, table_id, info(session, table_id))


def summaries(session: Session) -> list[TablePublic]:
    """Every table, oldest first."""
    found = [summary(session, table_id) for table_id in session.scalars(select(TableRow.id))]
    return sorted(found, key=lambda table: (table.info.created_at or _LONG_AGO, table.id))


def number(session: Session) -> int:
    """How many tables there are."""
    return session.scalar(select(func.count()).select_from(TableRow)) or 0


def counts(session: Session) -> dict[str, tuple[int, int]]:
    """Table id to its numbers of values and of failures."""
    good = func.count().filter(MeasurementRow.status == Status.OK)
    rows = session.execute(
        select(TableRow.id, good, func.count(MeasurementRow.key))
        .outerjoin(MeasurementRow, MeasurementRow.table_id == TableRow.id)
        .group_by(TableRow.id)
        .order_by(TableRow.id)
    )
    return {table_id: (ok, everything - ok) for table_id, ok, everything in rows}


@dataclass(frozen=True)
class Records:
    """A table as it is stored: its identity, its tag, and its operators' keys and records, which are not read yet."""

    info: TableInfo
    etag: str
    keys: tuple[str, ...]
    texts: tuple[str, ...]

    def table(self) -> Table:
        """The table. Raises StorageError where a record cannot be read."""
        where = f"table {self.info.id()}"
        return Table(info=self.info, entries=tuple(load(Measurement, text, where) for text in self.texts))

    def columns(self) -> TableColumns:
        """The same as columns, in a fraction of the time. Raises StorageError."""
        return table_columns(self.info, self.keys, self.texts, self.table)


def records(session: Session, table_id: str) -> Records:
    """The table's identity, tag and operators' records. Raises TableNotFoundError."""
    identity = info(session, table_id)
    found = session.execute(
        select(MeasurementRow.key, MeasurementRow.record).where(MeasurementRow.table_id == table_id, MeasurementRow.is_operator)
    ).all()
    keys, texts = zip(*found, strict=True) if found else ((), ())
    return Records(identity, contents.etag(session, table_id, identity), keys, texts)


def record_texts(session: Session, table_id: str, keys: Iterable[str]) -> dict[str, str]:
    """Key to the record of a measurement as it is stored, of those keys that the table has. Raises TableNotFoundError."""
    require(session, table_id)
    rows = session.execute(
        select(MeasurementRow.key, MeasurementRow.record).where(
            MeasurementRow.table_id == table_id, among(MeasurementRow.key, keys)
        )
    )
    return {row.key: row.record for row in rows}


def measurements(session: Session, table_id: str, keys: Iterable[str]) -> dict[str, Measurement]:
    """Key to measurement, of those keys that the table has. Raises TableNotFoundError."""
    texts = record_texts(session, table_id, keys)
    return {key: load(Measurement, text, f"table {table_id}, key {key}") for key, text in texts.items()}


def failures(session: Session, table_id: str, limit: int) -> tuple[dict[Status, int], list[Measurement]]:
    """How many operators and networks failed in each way, and the first of them by key. Raises TableNotFoundError."""
    require(session, table_id)
    failed = (MeasurementRow.table_id == table_id) & (MeasurementRow.status != Status.OK.value)
    numbers = session.execute(select(MeasurementRow.status, func.count()).where(failed).group_by(MeasurementRow.status))
    texts = session.scalars(select(MeasurementRow.record).where(failed).order_by(MeasurementRow.key).limit(limit))
    return (
        {Status(status): number for status, number in numbers},
        [load(Measurement, text, f"table {table_id}") for text in texts],
    )


def briefs(session: Session) -> list[tuple[str, TableInfo, Verdict | None]]:
    """Id, identity and verdict of every table, newest first."""
    known = ((row, info(session, row.id)) for row in session.scalars(select(TableRow)))
    found = [(row.id, identity, _verdict(row, identity)) for row, identity in known]
    return sorted(found, key=lambda brief: (brief[1].created_at or _LONG_AGO, brief[0]), reverse=True)


def keys(session: Session, table_id: str, prefix: str) -> list[str]:
    """Keys of the workloads with a measurement that begin so, sorted. Raises TableNotFoundError."""
    require(session, table_id)
    found = select(MeasurementRow.key).where(
        MeasurementRow.table_id == table_id, MeasurementRow.key.startswith(prefix, autoescape=True)
    )
    return list(session.scalars(found.order_by(MeasurementRow.key)))


def save(session: Session, table_id: str, measurements: Sequence[Measurement]) -> int:
    """Store measurements, in place of earlier ones of the same workloads; a failure takes no value's place.

    Returns:
        How many were stored.

    Raises:
        TableNotFoundError: no such table.
    """
    require(session, table_id)
    values = {measurement.key(): _values(table_id, measurement) for measurement in measurements}
    columns = select(MeasurementRow.key, MeasurementRow.status, MeasurementRow.digest)
    there = session.execute(columns.where(MeasurementRow.table_id == table_id, among(MeasurementRow.key, values))).all()
    good = {row.key for row in there if row.status == Status.OK}
    stored = {key: value for key, value in values.items() if key not in good or value["status"] == Status.OK}
    if not stored:
        return 0
    operators = {key: str(value["digest"]) for key, value in stored.items() if value["is_operator"]}
    contents.change(session, table_id, removed=[row.digest for row in there if row.key in operators], added=operators.values())
    statement = insert(session, MeasurementRow)
    new = statement.excluded
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[MeasurementRow.table_id, MeasurementRow.key],
            set_={"status": new.status, "record": new.record, "digest": new.digest},
        ),
        list(stored.values()),
    )
    return len(stored)


def import_table(session: Session, imported: Table) -> str:
    """Add a table, or what one of the same identity lacks; a good measurement that is here already stays.

    What is added is brought to the target's scale here. A target without one takes the table's, and one that is unsettled takes
    a settled one.

    Raises:
        TableMismatchError: only one of the two has a scale; or both are settled and so far apart that they cannot be of one
            device.
    """
    there = imported.info.scale
    table_id = ensure(session, imported.info)
    row = require(session, table_id)
    here = info(session, table_id).scale
    has_rows = session.scalar(select(func.count()).where(MeasurementRow.table_id == table_id))
    if (here is None) != (there is None) and has_rows:
        raise _other_scale(here, there)
    factor = 1.0
    if there is not None:
        if here is not None and not scale_rows.require_one_scale(here, there):
            raise _other_scale(here, there)
        if here is None or (there.settled and not here.settled):
            scale_rows.put(session, row.target_id, there)
        else:
            factor = here.reference_ms / there.reference_ms
    if row.plain_check is None and imported.info.check is not None:
        set_check(session, table_id, imported.info.check)
    good = session.scalars(
        select(MeasurementRow.key).where(MeasurementRow.table_id == table_id, MeasurementRow.status == Status.OK)
    )
    present = set(good)
    added = [scale_rows.rescaled(entry, factor) for entry in imported.entries if entry.key() not in present]
    save(session, table_id, added)
    update_verdict(session, table_id)
    return table_id


def _other_scale(here: Scale | None, there: Scale | None) -> TableMismatchError:
    def said(scale: Scale | None) -> str:
        return "none" if scale is None else f"{scale.reference_ms:.6g} ms"

    return TableMismatchError(
        f"the tables must not be mixed: a sentinel unit is {said(here)} here, {said(there)} there",
        hint="They are not of one device in one state. Import it into another database with --database.",
    )


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
