"""The database's tables, and how records get into them and out. A change here needs a migration;
`tests/integration/test_migrations.py` compares the two.

Specs, measurements and requests are stored as canonical JSON and validated again when read, so that a field added to
one of them needs no migration. Columns beside them are what queries select and count by.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import (
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from profiler_service.errors import StorageError


class UtcDateTime(TypeDecorator[datetime]):
    """Instants, aware in Python; SQLite has no time zones, so the database holds UTC."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC without a zone. Raises ValueError for an instant that has none to begin with."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone")
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To an aware instant in UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """What the tables have in common: names of constraints that a migration can rely on."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, float: Double, str: Text}  # noqa: RUF012 (SQLAlchemy declares it so)


class TableRow(Base):
    """A latency table's identity and provenance.

    `info` is the `TableInfo` without its scale, which is its target's, and without `plain_check`, a `ScaleCheck`.
    `entry_verdict` is the `Verdict` that the entries alone allowed when the latest job ended.
    """

    __tablename__ = "tables"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    info: Mapped[str]
    target_id: Mapped[str] = mapped_column(String(16), index=True)
    plain_check: Mapped[str | None]
    entry_verdict: Mapped[str | None]


class ScaleRow(Base):
    """The scale of one target, a `Scale`. Measurements of `in_context` tables are stored in its milliseconds."""

    __tablename__ = "scales"

    target_id: Mapped[str] = mapped_column(String(16), primary_key=True)
    scale: Mapped[str]


class ContentsRow(Base):
    """What names the entries of one table (`profiler_service.storage.contents`); absent while it has none."""

    __tablename__ = "contents"

    table_id: Mapped[str] = mapped_column(ForeignKey("tables.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(32))


class MeasurementRow(Base):
    """One workload's measurement in one table; `digest` names `record` (models.spec.table_files.table_io).

    The index has all that entries are counted by, so that no record is read for it.
    """

    __tablename__ = "measurements"
    __table_args__ = (Index(None, "table_id", "is_operator", "status"),)

    table_id: Mapped[str] = mapped_column(ForeignKey("tables.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(16), primary_key=True)
    is_operator: Mapped[bool]
    status: Mapped[str] = mapped_column(String(32))
    record: Mapped[str]
    digest: Mapped[str] = mapped_column(String(32))


class VisitRow(Base):
    """One visit; `samples` are single-precision milliseconds, zlib-compressed.

    `device` is a `DeviceState`, `host` a `HostState`.
    """

    __tablename__ = "visits"

    table_id: Mapped[str] = mapped_column(ForeignKey("tables.id"), primary_key=True)
    graph_key: Mapped[str] = mapped_column(String(64), primary_key=True)
    round: Mapped[int] = mapped_column(primary_key=True)
    visit: Mapped[int] = mapped_column(primary_key=True)
    samples: Mapped[bytes] = mapped_column(LargeBinary)
    sentinel_ms: Mapped[float]
    passes: Mapped[int]
    accepted: Mapped[bool]
    started_at: Mapped[datetime]
    device: Mapped[str | None]
    host: Mapped[str | None]


class JobRow(Base):
    """A job as it stands. `number` gives the order of creation, which no clock decides.

    `request` is the `JobCreate` without its priority. `attempt` counts how often a process has taken the job up, and fences off
    all but the latest one (`profiler_service.storage.job_rows.require_attempt`). `box` is the host whose process made the job.
    """

    __tablename__ = "jobs"

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    table_id: Mapped[str] = mapped_column(ForeignKey("tables.id"))
    state: Mapped[str] = mapped_column(String(16), index=True)
    request: Mapped[str]
    idempotency_key: Mapped[str | None] = mapped_column(unique=True)
    total: Mapped[int]
    reused: Mapped[int]
    measured: Mapped[int]
    failed: Mapped[int]
    phase: Mapped[str]
    fraction: Mapped[float]
    eta_s: Mapped[float | None]
    message: Mapped[str]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    verdict: Mapped[str | None]
    attempt: Mapped[int] = mapped_column(server_default="0")
    priority: Mapped[int] = mapped_column(server_default="0")
    submitted_by: Mapped[str] = mapped_column(String(64), server_default="")
    box: Mapped[str] = mapped_column(String(64), server_default="")


class TokenRow(Base):
    """A token of somebody who may call the service (`profiler_service.tokens`). `digest` is all that is kept of its secret."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class ValidationRow(Base):
    """A validation of one table. `summary` is its `validation.json`, `points` the whole `ValidationCreate`, zlib-compressed."""

    __tablename__ = "validations"

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(16), unique=True)
    table_id: Mapped[str] = mapped_column(ForeignKey("tables.id"), index=True)
    created_at: Mapped[datetime]
    networks: Mapped[int]
    summary: Mapped[str]
    points: Mapped[bytes] = mapped_column(LargeBinary)


R = TypeVar("R", bound=Record)


def load(cls: type[R], text: str, where: str) -> R:
    """The record in that text. Raises StorageError, which names `where` it was stored, if it is not valid (any more)."""
    try:
        return cls.parse_json(text, source=where)
    except InvalidSpecError as error:
        raise StorageError(
            f"the database holds something this release cannot read: {error}",
            hint="Restore the database from a copy, or measure into a new one with --database.",
        ) from error
