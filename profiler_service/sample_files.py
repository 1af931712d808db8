"""All visits of a table with their samples as one Parquet file, one row per visit (docs/columns.md).

The file is written a few graphs at a time, so that a table of any size fits into memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from models.atomic_file import replacing
from models.spaces.registry import create_space
from models.spec.base import Record, canonical_json
from models.spec.errors import InvalidSpecError, TableFileError
from models.spec.graphs import ContextBase
from models.spec.measurements import Workload
from models.spec.table_files.codec import optional
from models.spec.tables import TableInfo
from profiler_service.measure.visits import DeviceState, HostState, Visit
from profiler_service.raw_data import Role, roles
from profiler_service.storage.store import Store

VERSION = 1
"""Of the file's columns; raised where one of them changes its meaning or goes."""

METADATA = b"opclock_samples"
"""Key in the schema's metadata: JSON of the version, the table's id and its info."""

DEVICE, HOST = "device_", "host_"
"""What the names of the columns about either begin with."""

_GRAPHS_AT_ONCE = 64
_NULL = {"type": "null"}


class VisitOf(Record):
    """Whose visit a row is.

    Attributes:
        table_id: of the table.
        workload_key: of the operator or network; empty for a base, which belongs to several, and for graphs of neither.
        label: of the workload or base, for people.
        role: `operator`, `base` (what is subtracted for a context) or `network`.
    """

    table_id: str
    workload_key: str | None = None
    label: str | None = None
    role: Role | None = None


COLUMNS: tuple[tuple[str, type[Record]], ...] = (("", VisitOf), ("", Visit), (DEVICE, DeviceState), (HOST, HostState))
"""Records that a row is made of, with the prefix of their columns. `device` and `host` of a visit are spread over their own."""

SPREAD = frozenset({"device", "host"})
"""Fields of a visit that have columns of their own records."""


def column_names() -> list[str]:
    """Every column, in order."""
    return [prefix + name for prefix, record in COLUMNS for name in record.model_fields if name not in SPREAD]


def write_samples(store: Store, table_id: str, path: Path) -> int:
    """Write every visit of a table to a Parquet file; an earlier file is replaced only by a complete one.

    Returns:
        How many visits there are.

    Raises:
        TableNotFoundError: no such table.
        InvalidSpecError: it has no visits, as one that was imported.
        TableFileError: the file cannot be written, or pyarrow is missing.
    """
    info = store.table_info(table_id)
    graphs = store.visited_graphs(table_id)
    if not graphs:
        raise InvalidSpecError(
            f"table {table_id} has no visits, so no samples: it was imported, or nothing was measured yet",
            hint="Name a table that was measured into this database: `profiler-service tables` lists them.",
        )
    known = roles(tuple(_workloads(store, table_id, info)), info.protocol)
    parquet = optional("pyarrow.parquet")
    schema = _schema(table_id, info)
    try:
        with (
            replacing(path) as part,
            parquet.ParquetWriter(part, schema, compression="zstd", write_page_checksum=True) as writer,
        ):
            written = sum(_write(writer, table_id, visits, known) for visits in _visits(store, table_id, graphs))
    except OSError as error:
        raise TableFileError(
            f"{path} cannot be written: {error.strerror or error}", hint="Name another file, or make room and access for it."
        ) from error
    return written


def _workloads(store: Store, table_id: str, info: TableInfo) -> Iterator[Workload]:
    """What may have been visited: the grid, whose operators keep small jobs company, and whatever has a measurement."""
    with suppress(InvalidSpecError):  # a space that this release does not know has no grid here
        yield from create_space(info.space).operators()
    keys = iter(store.measured_keys(table_id))
    while some := list(islice(keys, _GRAPHS_AT_ONCE)):
        yield from (entry.workload for entry in store.measurements(table_id, some).values())


def _visits(store: Store, table_id: str, graphs: Sequence[str]) -> Iterator[list[Visit]]:
    for start in range(0, len(graphs), _GRAPHS_AT_ONCE):
        yield store.visits(table_id, graphs[start : start + _GRAPHS_AT_ONCE])


def _write(
    writer: Any, table_id: str, visits: Sequence[Visit], known: Mapping[str, tuple[Role, Workload | ContextBase]]
) -> int:
    """One group of rows; how many."""
    pa = optional("pyarrow")
    rows = [_row(table_id, visit, known.get(visit.graph_key)) for visit in visits]
    writer.write_table(pa.Table.from_pylist(rows, schema=writer.schema))
    return len(rows)


def _row(table_id: str, visit: Visit, of: tuple[Role, Workload | ContextBase] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"table_id": table_id}
    if of is not None:
        role, subject = of
        row |= {"role": role, "label": subject.label(), "workload_key": None if role == "base" else subject.key()}
    row |= visit.model_dump(exclude=set(SPREAD))
    for prefix, state in ((DEVICE, visit.device), (HOST, visit.host)):
        if state is not None:
            row |= {prefix + name: value for name, value in state.model_dump().items()}
    return row


def _schema(table_id: str, info: TableInfo) -> Any:
    """The `pyarrow.Schema`, which says what table the rows are of."""
    pa = optional("pyarrow")
    fields = []
    for prefix, record in COLUMNS:
        properties = record.model_json_schema()["properties"]
        fields += [
            pa.field(prefix + name, _arrow_type(pa, name, described))
            for name, described in properties.items()
            if name not in SPREAD
        ]
    text = canonical_json({"version": VERSION, "table_id": table_id, "info": info.model_dump(mode="json")})
    return pa.schema(fields, metadata={METADATA: text.encode()})


def _arrow_type(pa: Any, name: str, described: Mapping[str, Any]) -> Any:
    """The Arrow type of a field, by its JSON schema. Samples are kept in single precision, as the database does."""
    variant = next(found for found in described.get("anyOf", [described]) if found != _NULL)
    if variant["type"] == "array":
        return pa.list_(pa.float32() if name == "samples_ms" else _arrow_type(pa, "", variant["items"]))
    if variant.get("format") == "date-time":
        return pa.timestamp("us", tz="UTC")
    return {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}[variant["type"]]
