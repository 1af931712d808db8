"""Validations of tables, within a transaction that the caller holds."""

from __future__ import annotations

import json
import uuid
import zlib
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from models.spec.base import canonical_json
from models.spec.table_files.table_io import record_text
from models.spec.validations import ValidationCreate, ValidationPoint, ValidationPublic
from profiler_service.errors import ValidationNotFoundError
from profiler_service.storage.schema import ValidationRow, load
from profiler_service.storage.table_rows import require

KEPT = 50
"""Validations of one table: those posted first make room."""


def add(session: Session, table_id: str, validation: ValidationCreate) -> ValidationPublic:
    """Keep a validation beside its table. Raises TableNotFoundError."""
    require(session, table_id)
    row = ValidationRow(
        id=uuid.uuid4().hex[:16],
        table_id=table_id,
        created_at=datetime.now(UTC),
        networks=len(validation.points),
        summary=canonical_json(validation.summary),
        points=zlib.compress(record_text(validation).encode()),
    )
    session.add(row)
    session.flush()
    newest = select(ValidationRow.number).where(ValidationRow.table_id == table_id).order_by(ValidationRow.number.desc())
    kept = session.scalars(newest.limit(KEPT)).all()
    session.execute(delete(ValidationRow).where(ValidationRow.table_id == table_id, ValidationRow.number.not_in(kept)))
    return _public(row)


def of_table(session: Session, table_id: str) -> list[ValidationPublic]:
    """Those of a table, newest first. Raises TableNotFoundError."""
    require(session, table_id)
    rows = session.execute(
        select(
            ValidationRow.id, ValidationRow.table_id, ValidationRow.created_at, ValidationRow.networks, ValidationRow.summary
        )
        .where(ValidationRow.table_id == table_id)
        .order_by(ValidationRow.number.desc())
    )
    return [_public(row) for row in rows]


def get(session: Session, validation_id: str) -> tuple[ValidationPublic, tuple[ValidationPoint, ...]]:
    """One with its points. Raises ValidationNotFoundError."""
    row = session.scalar(select(ValidationRow).where(ValidationRow.id == validation_id))
    if row is None:
        raise ValidationNotFoundError(f"no validation {validation_id!r}", hint="A table's page lists the validations of it.")
    stored = load(ValidationCreate, zlib.decompress(row.points).decode(), f"validation {validation_id}")
    return _public(row), stored.points


def _public(row: Any) -> ValidationPublic:  # a `ValidationRow`, or a row of its columns
    return ValidationPublic(
        id=row.id, table_id=row.table_id, created_at=row.created_at, networks=row.networks, summary=json.loads(row.summary)
    )
