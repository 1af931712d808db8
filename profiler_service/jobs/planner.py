"""From a request to the graphs that must be measured for it: workloads, the bases of their contexts, and fillers."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from models.spaces.base import SearchSpace
from models.spec.architectures import ArchitectureSpec
from models.spec.graphs import ContextBase, GraphRequest
from models.spec.measurements import ProtocolName, Workload
from models.spec.operators import OperatorSpec
from models.spec.wire import JobCreate
from profiler_service.measure.groups import base_bytes, network_bytes, operator_bytes

MIN_LIVE = 24
"""Engines that are live at the least when operators are timed in turn: with fewer, caches stay warmer than in a network
(docs/measurement.md; 24 and 96 were tried, and differ little).
"""


@dataclass(frozen=True)
class PlannedGraph:
    """A graph to be built. `memory_bytes`: what its engine is expected to hold."""

    request: GraphRequest
    memory_bytes: int

    @cached_property
    def key(self) -> str:
        """Of the graph."""
        return self.request.key()


@dataclass(frozen=True)
class PlannedWorkload:
    """A workload to be measured.

    Attributes:
        graph: what is timed for it.
        base: what is subtracted; None for networks, and for operators alone.
        operators: how many operators it contains, as a measure of the work it makes.
    """

    workload: Workload
    graph: PlannedGraph
    base: PlannedGraph | None = None
    operators: int = 1

    @cached_property
    def key(self) -> str:
        """Of the workload."""
        return self.workload.key()

    @property
    def is_network(self) -> bool:
        """Whether it is an architecture."""
        return isinstance(self.workload, ArchitectureSpec)


@dataclass(frozen=True)
class JobPlan:
    """What a job has to measure.

    Attributes:
        workloads: each once.
        fillers: further operators of the space, in context, that keep small groups company; not measured for the table.
    """

    workloads: tuple[PlannedWorkload, ...]
    fillers: tuple[PlannedGraph, ...] = ()

    @property
    def graphs(self) -> tuple[PlannedGraph, ...]:
        """Every graph that must be built, once: those of workloads, then bases, then fillers."""
        graphs = [planned.graph for planned in self.workloads]
        graphs += [planned.base for planned in self.workloads if planned.base is not None]
        return tuple({graph.key: graph for graph in (*graphs, *self.fillers)}.values())


def requested_workloads(request: JobCreate, space: SearchSpace) -> tuple[Workload, ...]:
    """The workloads that the request names, or the space's whole grid; each once, in order."""
    workloads: Sequence[Workload] = space.operators() if request.workloads is None else request.workloads
    return tuple({workload.key(): workload for workload in workloads}.values())


def plan_job(
    workloads: Sequence[Workload], space: SearchSpace, protocol: ProtocolName, *, finished: Collection[str], seed: str
) -> JobPlan:
    """The plan of a job.

    Args:
        workloads: what was asked for.
        space: theirs; fillers come from its grid.
        protocol: whether operators are timed in context and in turn, or by themselves.
        finished: keys of the workloads that need no work.
        seed: decides which operators become fillers.
    """
    pending = [workload for workload in workloads if workload.key() not in finished]
    planned = tuple(_plan(workload, space, protocol) for workload in pending)
    operators = [workload for workload in pending if isinstance(workload, OperatorSpec)]
    if protocol is not ProtocolName.IN_CONTEXT or not operators:
        return JobPlan(planned)
    present = {operator.key() for operator in operators}
    others = [operator for operator in space.operators() if operator.key() not in present]
    wanted = min(max(MIN_LIVE - len(operators), 0), len(others))
    fillers = random.Random(seed).sample(others, wanted)  # noqa: S311 - repeatable, not secret
    return JobPlan(planned, tuple(_operator_graph(operator, in_context=True) for operator in fillers))


def _plan(workload: Workload, space: SearchSpace, protocol: ProtocolName) -> PlannedWorkload:
    if isinstance(workload, ArchitectureSpec):
        operators = space.architecture_operators(workload)
        graph = PlannedGraph(GraphRequest(subject=workload), network_bytes(operators))
        return PlannedWorkload(workload, graph, operators=len(operators))
    if protocol is not ProtocolName.IN_CONTEXT:
        return PlannedWorkload(workload, _operator_graph(workload, in_context=False))
    base = ContextBase.of(workload)
    return PlannedWorkload(
        workload,
        _operator_graph(workload, in_context=True),
        base=PlannedGraph(GraphRequest(subject=base), base_bytes(base)),
    )


def _operator_graph(operator: OperatorSpec, *, in_context: bool) -> PlannedGraph:
    request = GraphRequest(subject=operator, in_context=in_context)
    return PlannedGraph(request, operator_bytes(operator, in_context=in_context))
