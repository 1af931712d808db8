"""What a table's values were made of: the visits and rounds of an entry, and all visits as one Parquet file.

The file has one row per visit (docs/columns.md). It is written a few graphs at a time, so that a table of any size fits into
memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from models.atomic_file import replacing
from models.spaces.registry import create_space
from models.spec.base import Record, canonical_json
from models.spec.errors import InvalidSpecError, TableFileError
from models.spec.graphs import ContextBase, GraphRequest
from models.spec.measurements import Measurement, ProtocolName, Workload
from models.spec.operators import OperatorSpec
from models.spec.scale import Scale
from models.spec.table_files.codec import optional
from models.spec.tables import TableInfo
from profiler_service.errors import EntryChoiceError
from profiler_service.measure.statistics import median
from profiler_service.measure.values import RoundValue, VisitMedian, round_values
from profiler_service.measure.visits import DeviceState, HostState, Visit, graph_key
from profiler_service.storage.store import Store

Role = Literal["operator", "base", "network"]
"""Of a graph: what was timed for an operator, what is subtracted for its context, or a network."""


class SampledVisit(Record):
    """One visit behind an entry.

    Attributes:
        role: of the graph that was visited.
        visit: what it gave.
        median_ms: median of its samples, not normalised.
    """

    role: Role
    visit: Visit
    median_ms: float


class EntrySamples(Record):
    """Everything that an entry was made of.

    Attributes:
        table_id, key, label: table, and key and label of the operator or network.
        measurement: the entry itself.
        reference_ms: value of one sentinel unit, the scale of the rounds; null where the protocol has none.
        rounds: those in which the graph and, if it has one, its base were visited, in order.
        visits: of the graph, then of its base; by round.
    """

    table_id: str
    key: str
    label: str
    measurement: Measurement
    reference_ms: float | None
    rounds: tuple[RoundValue, ...]
    visits: tuple[SampledVisit, ...]


def base_key(workload: Workload, protocol: ProtocolName) -> str | None:
    """Key of the graph that is subtracted for a workload; None without one."""
    if protocol is not ProtocolName.IN_CONTEXT or not isinstance(workload, OperatorSpec):
        return None
    return GraphRequest(subject=ContextBase.of(workload)).key()


def scale_of(info: TableInfo) -> Scale | None:
    """The scale of the table's rounds; None where the protocol has none, or nothing was measured."""
    return info.scale if info.protocol is ProtocolName.IN_CONTEXT else None


def entry_samples(store: Store, table_id: str, prefix: str) -> EntrySamples:
    """The samples of the entry whose key begins with that prefix.

    Raises:
        EntryChoiceError: no key begins so, or several do.
        TableNotFoundError: no such table.
    """
    info = store.table_info(table_id)
    key = _only_key(store.measured_keys(table_id, prefix), table_id, prefix)
    measurement = store.measurements(table_id, [key])[key]
    workload = measurement.workload
    graph, base = graph_key(workload, info.protocol), base_key(workload, info.protocol)
    own: Role = "operator" if isinstance(workload, OperatorSpec) else "network"
    visits = store.visits(table_id, [graph])
    base_visits = [] if base is None else store.visits(table_id, [base])
    scale = scale_of(info)
    return EntrySamples(
        table_id=table_id,
        key=key,
        label=workload.label(),
        measurement=measurement,
        reference_ms=None if scale is None else scale.reference_ms,
        rounds=tuple(_rounds(visits, None if base is None else base_visits, scale)),
        visits=(*(_of(own, visit) for visit in visits), *(_of("base", visit) for visit in base_visits)),
    )


def rounds_of(store: Store, table_id: str, workloads: Sequence[Workload]) -> dict[str, list[RoundValue]]:
    """Workload key to its rounds in order; empty where the database has no visits of it. Raises TableNotFoundError."""
    info = store.table_info(table_id)
    scale = scale_of(info)
    graphs = {workload.key(): (graph_key(workload, info.protocol), base_key(workload, info.protocol)) for workload in workloads}
    wanted = sorted({key for pair in graphs.values() for key in pair if key is not None})
    visits: defaultdict[str, list[Visit]] = defaultdict(list)
    for visit in store.visits(table_id, wanted):
        visits[visit.graph_key].append(visit)
    return {key: _rounds(visits[graph], None if base is None else visits[base], scale) for key, (graph, base) in graphs.items()}


def roles(workloads: Sequence[Workload], protocol: ProtocolName) -> Mapping[str, tuple[Role, Workload | ContextBase]]:
    """Graph key to role and subject, for every graph that those workloads need."""
    found: dict[str, tuple[Role, Workload | ContextBase]] = {}
    for workload in workloads:
        role: Role = "operator" if isinstance(workload, OperatorSpec) else "network"
        found[graph_key(workload, protocol)] = (role, workload)
        if isinstance(workload, OperatorSpec) and (base := base_key(workload, protocol)) is not None:
            found[base] = ("base", ContextBase.of(workload))
    return found


def _only_key(found: Sequence[str], table_id: str, prefix: str) -> str:
    if len(found) == 1:
        return found[0]
    if not found:
        raise EntryChoiceError(
            f"table {table_id} has no entry whose key begins with {prefix!r}",
            hint="Keys are 16 hex digits: `profiler-service entries TABLE` lists them.",
        )
    listed = ", ".join(found[:3]) + (" …" if len(found) > 3 else "")
    raise EntryChoiceError(
        f"{len(found)} entries of table {table_id} have a key that begins with {prefix!r}: {listed}",
        hint="Give more digits of the key.",
    )


def _rounds(visits: Sequence[Visit], base: Sequence[Visit] | None, scale: Scale | None) -> list[RoundValue]:
    """The rounds as a job counts them, without what the scale shows to be slow."""
    engine, subtracted = ([VisitMedian.of(visit).on(scale) for visit in some or ()] for some in (visits, base))
    return round_values(engine, None if base is None else subtracted, None if scale is None else scale.reference_ms)


def _of(role: Role, visit: Visit) -> SampledVisit:
    return SampledVisit(role=role, visit=visit, median_ms=median(visit.samples_ms))


SAMPLES_VERSION = 1
"""Of the file's columns; raised where one of them changes its meaning or goes."""

SAMPLES_METADATA = b"opclock_samples"
"""Key in the schema's metadata: JSON of the version, the table's id and its info."""

DEVICE_PREFIX, HOST_PREFIX = "device_", "host_"
"""What the names of the columns about either begin with."""

_GRAPHS_AT_ONCE = 64
_NULL = {"type": "null"}


class VisitOf(Record):
    """Table and workload of the visit in a row.

    Attributes:
        table_id: id of the table.
        workload_key: key of the operator or network; empty for a base, which several operators share, and for other graphs.
        label: label of the workload or base.
        role: `operator`, `base` (the graph that is subtracted for a context) or `network`.
    """

    table_id: str
    workload_key: str | None = None
    label: str | None = None
    role: Role | None = None


SAMPLES_COLUMNS: tuple[tuple[str, type[Record]], ...] = (
    ("", VisitOf),
    ("", Visit),
    (DEVICE_PREFIX, DeviceState),
    (HOST_PREFIX, HostState),
)
"""Records that a row is made of, with the prefix of their columns. `device` and `host` of a visit are spread over their own."""

SPREAD = frozenset({"device", "host"})
"""Fields of a visit that have columns of their own records."""


def column_names() -> list[str]:
    """Every column, in order."""
    return [prefix + name for prefix, record in SAMPLES_COLUMNS for name in record.model_fields if name not in SPREAD]


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
            f"table {table_id} has no visits and so no samples: it was imported, or nothing was measured yet",
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
    """Workloads that may have visits: the grid, whose operators also pad the groups of small jobs, and all measured ones."""
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
    for prefix, state in ((DEVICE_PREFIX, visit.device), (HOST_PREFIX, visit.host)):
        if state is not None:
            row |= {prefix + name: value for name, value in state.model_dump().items()}
    return row


def _schema(table_id: str, info: TableInfo) -> Any:
    """The `pyarrow.Schema`, with the identity of the table in its metadata."""
    pa = optional("pyarrow")
    fields = []
    for prefix, record in SAMPLES_COLUMNS:
        properties = record.model_json_schema()["properties"]
        fields += [
            pa.field(prefix + name, _arrow_type(pa, name, described))
            for name, described in properties.items()
            if name not in SPREAD
        ]
    text = canonical_json({"version": SAMPLES_VERSION, "table_id": table_id, "info": info.model_dump(mode="json")})
    return pa.schema(fields, metadata={SAMPLES_METADATA: text.encode()})


def _arrow_type(pa: Any, name: str, described: Mapping[str, Any]) -> Any:
    """The Arrow type of a field, by its JSON schema. Samples are in single precision, as in the database."""
    variant = next(found for found in described.get("anyOf", [described]) if found != _NULL)
    if variant["type"] == "array":
        return pa.list_(pa.float32() if name == "samples_ms" else _arrow_type(pa, "", variant["items"]))
    if variant.get("format") == "date-time":
        return pa.timestamp("us", tz="UTC")
    return {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}[variant["type"]]
