"""The second phase of a job, protocol `in_context`: engines are timed in turn, group by group and round by round, until every
value is known well enough (docs/measurement.md).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.context import JobContext
from profiler_service.jobs.group_visits import GroupVisits, VisitSettings
from profiler_service.jobs.planner import MIN_LIVE, PlannedGraph, PlannedWorkload
from profiler_service.measure.groups import GroupLimits, Member, draw_groups
from profiler_service.measure.sentinel import SentinelGate

OPERATORS_PER_SENTINEL = 16
"""Operators per run of the sentinel within a pass: it takes less than a tenth of the time, and has tens of runs a visit."""

_NETWORKS_PER_SENTINEL = 1
"""A network takes as long as tens of operators."""


@dataclass(frozen=True)
class LiveLimits:
    """How many engines may be live at once, and how many bytes they may hold together, estimated."""

    engines: int
    memory_bytes: int


def measure_round_robin(
    job: JobContext,
    artifacts: dict[str, GraphArtifact],
    fillers: Sequence[PlannedGraph],
    *,
    limits: LiveLimits,
    seed: str,
) -> None:
    """Add rounds until nothing of the job is pending, or it is stopped.

    Operators and networks have groups of their own, in the same rounds: a network would keep operators waiting for most of a
    pass.

    Args:
        job: what is measured.
        artifacts: graph key to artifact, of all graphs that can be timed.
        fillers: graphs that may keep small groups company besides the job's own.
        limits: of a group.
        seed: decides who is live with whom, and in which order.

    Raises:
        JobError: the sentinel failed.
    """
    budget = job.budget
    gates = [SentinelGate(repeat_share=budget.repeat_share, reference_ms=job.tracker.reference_ms) for _ in range(2)]
    operators = VisitSettings(budget.passes, OPERATORS_PER_SENTINEL, gates[0])
    networks = VisitSettings(budget.network_passes, _NETWORKS_PER_SENTINEL, gates[1])
    operator_limits = GroupLimits(min(MIN_LIVE, limits.engines), limits.engines, limits.memory_bytes)
    network_limits = GroupLimits(0, limits.engines, limits.memory_bytes)
    units = {planned.graph.key: planned.operators for planned in job.tracker.pending}
    company = [*fillers, *(planned.graph for planned in job.tracker.pending if not planned.is_network)]

    job.tracker.finalize()
    while job.tracker.pending and not job.stopped():
        number = job.begin_round()
        rng = random.Random(f"{seed} {number}")  # noqa: S311 - repeatable, not secret
        visits = GroupVisits(job, artifacts, units, number=number, rng=rng)
        due = job.tracker.pending
        members = [_member(job, graph) for graph in company if graph.key in artifacts]
        visits.visit(draw_groups(_members(job, due, networks=False), members, operator_limits, rng), operators)
        visits.visit(draw_groups(_members(job, due, networks=True), [], network_limits, rng), networks)
        if not job.stopped():
            job.tracker.finalize()


def _members(job: JobContext, due: Iterable[PlannedWorkload], *, networks: bool) -> list[Member]:
    return [
        _member(job, planned.graph, None if planned.base is None else _member(job, planned.base))
        for planned in due
        if planned.is_network is networks
    ]


def _member(job: JobContext, graph: PlannedGraph, base: Member | None = None) -> Member:
    return Member(graph.key, job.memory_bytes(graph), base)
