"""What a job has to measure, planned once for each attempt.

These are the workloads that its table lacks or that are to be measured again, the graphs they need, and the entries that are
still to be rebuilt.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from models.spaces.base import SearchSpace
from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec
from models.spec.graphs import ContextBase, GraphRequest
from models.spec.measurements import Budget, Flag, Measurement, ProtocolName, Status, Workload
from models.spec.operators import OperatorSpec
from models.spec.wire import JobCounts, JobCreate, JobPublic, Rebuild
from profiler_service.measure.groups import base_bytes, network_bytes, operator_bytes
from profiler_service.measure.rebuilds import entries_to_rebuild
from profiler_service.measure.visits import graph_key
from profiler_service.storage.store import Store

MIN_LIVE = 24
"""Engines that are live at the least when operators are timed round-robin: with fewer, caches stay warmer than in a network
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
        base: what is subtracted; None for networks, and for isolated operators.
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
        padding: further operators of the space, in context, with which small groups are filled up; not measured for the table.
    """

    workloads: tuple[PlannedWorkload, ...]
    padding: tuple[PlannedGraph, ...] = ()

    @property
    def graphs(self) -> tuple[PlannedGraph, ...]:
        """Every graph that must be built, once: those of workloads, then bases, then padding."""
        graphs = [planned.graph for planned in self.workloads]
        graphs += [planned.base for planned in self.workloads if planned.base is not None]
        return tuple({graph.key: graph for graph in (*graphs, *self.padding)}.values())


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
        space: theirs; padding comes from its grid.
        protocol: whether operators are timed in context and round-robin, or isolated.
        finished: keys of the workloads that need no work.
        seed: decides which operators become padding.
    """
    pending = [workload for workload in workloads if workload.key() not in finished]
    planned = tuple(_plan(workload, space, protocol) for workload in pending)
    operators = [workload for workload in pending if isinstance(workload, OperatorSpec)]
    if protocol is not ProtocolName.IN_CONTEXT or not operators:
        return JobPlan(planned)
    present = {operator.key() for operator in operators}
    others = [operator for operator in space.operators() if operator.key() not in present]
    wanted = min(max(MIN_LIVE - len(operators), 0), len(others))
    padding = random.Random(seed).sample(others, wanted)  # noqa: S311 - repeatable, not secret
    return JobPlan(planned, tuple(_operator_graph(operator, in_context=True) for operator in padding))


def _plan(workload: Workload, space: SearchSpace, protocol: ProtocolName) -> PlannedWorkload:
    if isinstance(workload, ArchitectureSpec):
        operators = space.architecture_operators(workload)
        graph = PlannedGraph(GraphRequest(subject=workload), network_bytes(operators))
        return PlannedWorkload(workload, graph, operators=len(operators))
    if protocol is not ProtocolName.IN_CONTEXT:
        return PlannedWorkload(workload, _operator_graph(workload, in_context=False))
    return plan_operator(workload)


def plan_operator(operator: OperatorSpec) -> PlannedWorkload:
    """The operator in its context, and the base that is subtracted."""
    base = ContextBase.of(operator)
    return PlannedWorkload(
        operator,
        _operator_graph(operator, in_context=True),
        base=PlannedGraph(GraphRequest(subject=base), base_bytes(base)),
    )


def _operator_graph(operator: OperatorSpec, *, in_context: bool) -> PlannedGraph:
    request = GraphRequest(subject=operator, in_context=in_context)
    return PlannedGraph(request, operator_bytes(operator, in_context=in_context))


@dataclass(frozen=True)
class Outstanding:
    """What is left of a job.

    Attributes:
        job: as it stood when this was planned.
        space: its search space.
        requested: keys of the workloads that it asks for.
        counts: of these, as the table stands.
        plan: of those that need work.
        since: from when on results count as this job's, where it measures or rebuilds again.
        stale: keys of their graphs whose visits from before that must not enter the new values.
        retried: keys of those that failed, whose visits from before the job must not either.
        contaminated: keys of those whose slow visits from before make room, since the machine was busy then.
        rebuild: whether it is still to be reported how much builds differ.
        unchecked: keys of its values, where it has measured some and was interrupted before the check by the wall clock.
    """

    job: JobPublic
    space: SearchSpace
    requested: tuple[str, ...]
    counts: JobCounts
    plan: JobPlan
    since: datetime
    stale: tuple[str, ...]
    retried: tuple[str, ...]
    contaminated: tuple[str, ...] = ()
    rebuild: bool = False
    unchecked: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Whether anything is left."""
        return bool(self.plan.workloads) or self.rebuild or bool(self.unchecked)


def outstanding_of(job: JobPublic, store: Store, is_quiet: Callable[[], bool], *, plain_check: bool = False) -> Outstanding:
    """What is left of a job, whether it starts or goes on.

    What is measured again keeps its old value until it has a new one. What the job reported stands, before it was interrupted
    or when it was submitted before and did not come to its end (`Store.attempted_since`).

    Args:
        job: as it stands.
        store: has its table.
        is_quiet: whether values that were measured on a busy machine are worth measuring again now.
        plain_check: whether jobs end with a check by the wall clock.
    """
    request, space = job.request, create_space(job.request.space)
    workloads = {workload.key(): workload for workload in requested_workloads(request, space)}
    entries = store.measurements(job.table_id, workloads)
    since = store.attempted_since(job.id)
    finished = {key: entry for key, entry in entries.items() if not _is_replaced(entry, job, since)}
    contaminated = _to_improve(finished.values(), since, is_quiet)
    finished = {key: entry for key, entry in finished.items() if key not in contaminated}
    values = tuple(key for key, entry in finished.items() if entry.status is Status.OK)
    good = len(values)
    reused = good if job.started_at is None else min(job.counts.reused, good)
    unchecked = plain_check and reused < good and not _is_checked(job, store)
    retried = {key for key, entry in entries.items() if key not in finished and entry.status is not Status.OK}
    again = set(workloads) - finished.keys() - retried - contaminated if request.remeasure else set()
    plan = plan_job(list(workloads.values()), space, request.protocol, finished=finished, seed=job.id)

    def graphs(keys: Collection[str]) -> tuple[str, ...]:
        return tuple(graph_key(workload, request.protocol) for key, workload in workloads.items() if key in keys)

    return Outstanding(
        job=job,
        space=space,
        requested=tuple(workloads),
        counts=JobCounts(total=len(workloads), reused=reused, measured=good - reused, failed=len(finished) - good),
        plan=plan,
        since=since,
        stale=graphs(again),
        retried=graphs(retried),
        contaminated=graphs(contaminated),
        rebuild=_rebuilds(request) and bool(plan.workloads or to_rebuild(job, finished.values(), since, store)),
        unchecked=values if unchecked else (),
    )


def to_rebuild(job: JobPublic, entries: Iterable[Measurement], since: datetime, store: Store) -> list[Measurement]:
    """What the job has still to build anew of its entries.

    What is known stands, unless the job measures everything again or asks for just this: then what is from before `since`
    does not.
    """
    again = job.request.remeasure or job.request.rebuild is Rebuild.ALWAYS
    known = store.table_info(job.table_id).rebuild_spread
    return entries_to_rebuild(entries, known, seed=job.table_id, since=since if again else None)


def _is_checked(job: JobPublic, store: Store) -> bool:
    """Whether the table was checked by the wall clock since the job started, or is never checked."""
    if job.started_at is None or job.request.protocol is not ProtocolName.IN_CONTEXT:
        return True
    check = store.table_info(job.table_id).check
    return check is not None and check.at >= job.started_at


def _rebuilds(request: JobCreate) -> bool:
    """Whether the job reports how much builds differ: as asked for, or, for a whole grid, by budget."""
    if request.rebuild is Rebuild.AUTO:
        return request.workloads is None and request.budget is not Budget.QUICK
    return request.rebuild is Rebuild.ALWAYS


def _to_improve(entries: Iterable[Measurement], since: datetime, is_quiet: Callable[[], bool]) -> set[str]:
    """Keys of values that were measured while the machine was busy, if it is quiet now."""
    found = {entry.key() for entry in entries if Flag.CONTAMINATED in entry.flags and _is_before(entry, since)}
    return found if found and is_quiet() else set()


def _is_replaced(entry: Measurement, job: JobPublic, since: datetime) -> bool:
    """Whether an entry is to be replaced: a failure from before the job; a value if the job measures again, where it is from
    before `since`. An engine that has crashed twice is not tried again unless the job asks for that.
    """
    if entry.status is Status.OK:
        return job.request.remeasure and _is_before(entry, since)
    if entry.status is Status.CRASHED and not job.request.retry_failed:
        return False
    return _is_before(entry, job.created_at)


def _is_before(entry: Measurement, instant: datetime) -> bool:
    return entry.measured_at is None or entry.measured_at < instant
