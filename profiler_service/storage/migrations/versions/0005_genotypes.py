"""Architectures have a genotype, and keys of a second version.

Until now an architecture had branches and three widths. Everything that names one is brought to its new key: measurements,
their visits, requests of jobs, plain checks and build-to-build variances.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from models.spaces.registry import SPACES, completed
from models.spec.architectures import ArchitectureSpec
from models.spec.base import canonical_json, digest
from models.spec.errors import InvalidSpecError
from models.spec.flat_architectures import FlatArchitecture, former_key, is_flat
from models.spec.measurements import Measurement
from models.spec.table_files.table_io import record_text, text_digest
from models.spec.wire import JobCreate

revision = "0005"
down_revision = "0004"

_MEASUREMENTS = sa.table("measurements", *map(sa.column, ("table_id", "key", "is_operator", "record", "digest")))
_JOBS = sa.table("jobs", sa.column("number"), sa.column("request"))
_VISITS = sa.table("visits", sa.column("graph_key"))
_TABLES = sa.table("tables", sa.column("id"), sa.column("info"), sa.column("plain_check"))


def upgrade() -> None:
    connection = op.get_bind()
    renamed = _rename_measurements(connection) | _rename_requests(connection)
    for old, new in renamed.items():
        for before, after in ((old, new.key()), (_graph(old), _graph(new.key()))):
            visits = sa.update(_VISITS).where(_VISITS.c.graph_key == before)
            connection.execute(visits.values(graph_key=after))
    _rename_in_tables(connection, renamed)


def _rename_measurements(connection: sa.Connection) -> dict[str, ArchitectureSpec]:
    """Former keys, and what they name. Of two that turn out to be one network, the later measurement stays."""
    columns = _MEASUREMENTS.c
    rows = connection.execute(sa.select(_MEASUREMENTS).where(columns.is_operator.is_(False))).all()
    renamed: dict[str, ArchitectureSpec] = {}
    for row in rows:
        found = Measurement.parse_json(row.record, source=f"measurement {row.key}")
        assert isinstance(found.workload, ArchitectureSpec)
        network = _completed(found.workload)
        renamed[row.key] = network
        entry = found.model_copy(update={"workload": network})
        old = sa.and_(columns.table_id == row.table_id, columns.key == row.key)
        same = sa.and_(columns.table_id == row.table_id, columns.key == network.key())
        other = connection.execute(sa.select(_MEASUREMENTS).where(same)).first()
        if other is not None and row.key != network.key():
            kept = Measurement.parse_json(other.record, source=f"measurement {other.key}")
            if _is_later(kept, entry):
                connection.execute(sa.delete(_MEASUREMENTS).where(old))
                continue
            connection.execute(sa.delete(_MEASUREMENTS).where(same))
        text = record_text(entry)
        changed = {"key": network.key(), "record": text, "digest": text_digest(text)}
        connection.execute(sa.update(_MEASUREMENTS).where(old).values(changed))
    return renamed


def _is_later(one: Measurement, other: Measurement) -> bool:
    return one.measured_at is not None and (other.measured_at is None or one.measured_at > other.measured_at)


def _rename_requests(connection: sa.Connection) -> dict[str, ArchitectureSpec]:
    """As `_rename_measurements`, for what jobs ask for: it may have visits and no measurement yet."""
    renamed: dict[str, ArchitectureSpec] = {}
    for row in connection.execute(sa.select(_JOBS)).all():
        request = JobCreate.parse_json(row.request, source=f"job {row.number}")
        if request.workloads is None:
            continue
        stored = json.loads(row.request)["workloads"]
        workloads = tuple(_completed(one) if isinstance(one, ArchitectureSpec) else one for one in request.workloads)
        for before, after in zip(stored, workloads, strict=True):
            if isinstance(after, ArchitectureSpec) and (key := _former_key(before)) is not None:
                renamed[key] = after
        changed = record_text(request.model_copy(update={"workloads": workloads}))
        connection.execute(sa.update(_JOBS).where(_JOBS.c.number == row.number).values(request=changed))
    return renamed


def _rename_in_tables(connection: sa.Connection, renamed: dict[str, ArchitectureSpec]) -> None:
    """Keys and labels in plain checks and build-to-build variances."""
    for row in connection.execute(sa.select(_TABLES)).all():
        changed = {name: _renamed_text(getattr(row, name), renamed) for name in ("info", "plain_check")}
        connection.execute(sa.update(_TABLES).where(_TABLES.c.id == row.id).values(changed))


def _renamed_text(text: str | None, renamed: dict[str, ArchitectureSpec]) -> str | None:
    return None if text is None else canonical_json(_renamed_value(json.loads(text), renamed))


def _renamed_value(value: Any, renamed: dict[str, ArchitectureSpec]) -> Any:
    if isinstance(value, list):
        return [_renamed_value(item, renamed) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: _renamed_value(item, renamed) for name, item in value.items()}
    network = renamed.get(str(found.get("key")))
    return found if network is None else found | {"key": network.key(), "label": network.label()}


def _completed(architecture: ArchitectureSpec) -> ArchitectureSpec:
    """As its space writes it; as it is where the space is of a plugin that is not here, or refuses it by now."""
    if architecture.space not in SPACES.names():
        return architecture
    try:
        return completed(architecture)
    except InvalidSpecError:
        return architecture


def _former_key(stored: dict[str, Any]) -> str | None:
    """The key of what a request holds: flat, or in today's fields where an earlier migration wrote it anew."""
    if is_flat(stored):
        return FlatArchitecture.parse(stored).key()
    return former_key(ArchitectureSpec.parse(stored).model_dump(mode="json"))


def _graph(key: str) -> str:
    """The key of an architecture's graph; architectures are never built in context."""
    return digest("graph", [False, key])
