"""What a table's values were made of, as the database keeps it: the visits and rounds of an entry and of its base."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from models.spec.base import Record
from models.spec.graphs import ContextBase, GraphRequest
from models.spec.measurements import Measurement, ProtocolName, Workload
from models.spec.operators import OperatorSpec
from models.spec.tables import TableInfo
from profiler_service.errors import EntryChoiceError
from profiler_service.measure.statistics import median
from profiler_service.measure.values import RoundValue, VisitMedian, round_values
from profiler_service.measure.visits import Visit, graph_key
from profiler_service.storage.store import Store

Role = Literal["operator", "base", "network"]
"""Of a graph: what was timed for an operator, what is subtracted for its context, or a whole network."""


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
        table_id, key, label: whose.
        measurement: the entry itself.
        reference_ms: the scale that rounds are told in: what one sentinel unit is worth; None where the protocol has none.
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
    """Key of the graph that is subtracted for a workload; None where nothing is."""
    if protocol is not ProtocolName.IN_CONTEXT or not isinstance(workload, OperatorSpec):
        return None
    return GraphRequest(subject=ContextBase.of(workload)).key()


def reference_ms(info: TableInfo) -> float | None:
    """What one sentinel unit of a table is worth; None where the protocol has none, or nothing was measured."""
    return info.scale.reference_ms if info.protocol is ProtocolName.IN_CONTEXT and info.scale is not None else None


def entry_samples(store: Store, table_id: str, prefix: str) -> EntrySamples:
    """The samples of the entry whose key begins so.

    Raises:
        EntryChoiceError: no key does, or several do.
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
    reference = reference_ms(info)
    return EntrySamples(
        table_id=table_id,
        key=key,
        label=workload.label(),
        measurement=measurement,
        reference_ms=reference,
        rounds=tuple(_rounds(visits, None if base is None else base_visits, reference)),
        visits=(*(_of(own, visit) for visit in visits), *(_of("base", visit) for visit in base_visits)),
    )


def rounds_of(store: Store, table_id: str, workloads: Sequence[Workload]) -> dict[str, list[RoundValue]]:
    """Workload key to its rounds, in order; none where the database keeps no visits of it. Raises TableNotFoundError."""
    info = store.table_info(table_id)
    reference = reference_ms(info)
    graphs = {workload.key(): (graph_key(workload, info.protocol), base_key(workload, info.protocol)) for workload in workloads}
    wanted = sorted({key for pair in graphs.values() for key in pair if key is not None})
    visits: defaultdict[str, list[Visit]] = defaultdict(list)
    for visit in store.visits(table_id, wanted):
        visits[visit.graph_key].append(visit)
    return {
        key: _rounds(visits[graph], None if base is None else visits[base], reference) for key, (graph, base) in graphs.items()
    }


def roles(workloads: Sequence[Workload], protocol: ProtocolName) -> Mapping[str, tuple[Role, Workload | ContextBase]]:
    """Graph key to what that graph is of, for every graph that those workloads need."""
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
        hint="Write more of the key.",
    )


def _rounds(visits: Sequence[Visit], base: Sequence[Visit] | None, reference: float | None) -> list[RoundValue]:
    engine = [VisitMedian.of(visit) for visit in visits]
    return round_values(engine, None if base is None else [VisitMedian.of(visit) for visit in base], reference)


def _of(role: Role, visit: Visit) -> SampledVisit:
    return SampledVisit(role=role, visit=visit, median_ms=median(visit.samples_ms))
