"""Timing for protocol `in_context`: engines take turns, group by group and round by round, until every value is known well
enough (docs/measurement.md). Visits that were slow or disturbed are repeated, and engines that fail are dropped.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter

from models.spec.measurements import Status
from profiler_service.backends.base import GraphArtifact
from profiler_service.errors import JobError
from profiler_service.jobs.culprits import Division, divide, single_out
from profiler_service.jobs.planner import MIN_LIVE
from profiler_service.jobs.reporting import Work
from profiler_service.jobs.round_robin_job import RoundRobinJob
from profiler_service.measure.groups import Group, GroupLimits, Member, draw_groups
from profiler_service.measure.sentinel import SENTINEL_GRAPH, SentinelGate, VisitDecision
from profiler_service.measure.statistics import median
from profiler_service.measure.visits import HostState, Visit, disturbed
from profiler_service.worker.protocol import Failure, RoundRobin, TimingRequest, TimingResult

OPERATORS_PER_SENTINEL = 16
"""Operators per run of the sentinel within a pass: it takes less than a tenth of the time, and has tens of runs a visit."""

_NETWORKS_PER_SENTINEL = 1
"""A network takes as long as tens of operators."""


def measure_round_robin(job: RoundRobinJob, artifacts: dict[str, GraphArtifact]) -> None:
    """Add rounds until nothing of the job is pending, or it is stopped.

    Operators and networks have groups of their own, in the same rounds: a network would keep operators waiting for most of a
    pass.

    Args:
        job: what is measured.
        artifacts: graph key to artifact, of all graphs that can be timed. Graphs that fail are removed.

    Raises:
        JobError: the sentinel failed.
    """
    tracker, budget, limits = job.tracker, job.budget, job.limits
    gates = [SentinelGate(repeat_share=budget.repeat_share, reference_ms=tracker.reference_ms) for _ in range(2)]
    operators = _VisitSettings(budget.passes, OPERATORS_PER_SENTINEL, gates[0])
    networks = _VisitSettings(budget.network_passes, _NETWORKS_PER_SENTINEL, gates[1])
    operator_limits = GroupLimits(min(MIN_LIVE, limits.engines), limits.engines, limits.memory_bytes)
    network_limits = GroupLimits(0, limits.engines, limits.memory_bytes)
    units = {planned.graph.key: planned.operators for planned in tracker.pending}
    padding = [*job.padding, *(planned.graph for planned in tracker.pending if not planned.is_network)]

    tracker.finalize()
    while tracker.pending and not job.stopped():
        number = job.begin_round()
        rng = random.Random(f"{job.id} {number}")  # noqa: S311 - repeatable, not secret
        visits = _Round(job, artifacts, units, number=number, rng=rng)
        pending = tracker.pending
        members = [job.member(planned.graph, planned.base) for planned in pending if not planned.is_network]
        fill = [job.member(graph) for graph in padding if graph.key in artifacts]
        visits.visit(draw_groups(members, fill, operator_limits, rng), operators)
        members = [job.member(planned.graph) for planned in pending if planned.is_network]
        visits.visit(draw_groups(members, [], network_limits, rng), networks)
        if not job.stopped():
            tracker.finalize()


@dataclass(frozen=True)
class _VisitSettings:
    """How the groups of one kind of workload are visited.

    Attributes:
        passes: timed passes of a visit.
        sentinel_every: engines per run of the sentinel within a pass.
        gate: decides on the visits, from round to round.
    """

    passes: int
    sentinel_every: int
    gate: SentinelGate


@dataclass(frozen=True)
class _Timed:
    """The times of an attempt, and what else the machine did meanwhile."""

    times: TimingResult
    host: HostState

    @property
    def sentinel_ms(self) -> float:
        return median(self.times.sentinel_ms)

    @property
    def disturbed(self) -> bool:
        return disturbed(self.times.device, self.host)

    def better(self, other: _Timed | None) -> _Timed:
        """The one of the two that nothing disturbed: other processes slow the sentinel by another factor than large engines.
        Among equals the one with the faster sentinel.
        """
        mine = (self.disturbed, self.sentinel_ms)
        return self if other is None or mine < (other.disturbed, other.sentinel_ms) else other


@dataclass(frozen=True)
class _Attempt:
    """A group that is to be visited, how often that was tried, and the best attempt so far."""

    group: Group
    number: int = 0
    best: _Timed | None = None


class _Round:
    """The visits of one round.

    Args:
        job: what is measured; visits and failures go to its tracker.
        artifacts: graph key to artifact. Graphs that fail are removed.
        units: graph key to units of work, of the graphs that may be pending.
        number: of the round.
        rng: decides the order of runs.
    """

    def __init__(
        self,
        job: RoundRobinJob,
        artifacts: dict[str, GraphArtifact],
        units: Mapping[str, int],
        *,
        number: int,
        rng: random.Random,
    ) -> None:
        self._job, self._artifacts, self._units, self._number, self._rng = job, artifacts, units, number, rng
        self._sentinel = artifacts[SENTINEL_GRAPH.key()]
        self._queue: deque[_Attempt] = deque()
        self._saved = 0

    def visit(self, groups: Iterable[Group], settings: _VisitSettings) -> None:
        """Visit the groups, and save each one's visits as it is done; return early if the job is stopped.

        A visit that was slow or disturbed is repeated after the other groups: by then that may be over.

        Raises:
            JobError: the sentinel failed.
        """
        self._queue.extend(map(_Attempt, groups))
        while self._queue and not self._job.stopped():
            attempt = self._queue.popleft()
            attempt = replace(attempt, group=attempt.group.only(self._able))  # others may have failed since
            if not attempt.group.pending:
                continue
            start_s = perf_counter()
            self._job.host.begin()
            outcome = self._job.workers.time(self._request(attempt.group, settings))
            host = self._job.host.end()
            if isinstance(outcome, Failure):
                self._untimed(outcome, attempt.group)
                units = 0
            else:
                units = self._timed(_Timed(outcome.filtered(self._job.clock), host), attempt, settings)
            self._job.reporter.estimate.did(Work.VISIT, units, perf_counter() - start_s)
            self._job.reporter.tick()

    def _request(self, group: Group, settings: _VisitSettings) -> TimingRequest:
        return TimingRequest(
            tuple(self._artifacts[key] for key in group.keys),
            RoundRobin(self._sentinel, sentinel_every=settings.sentinel_every),
            passes=settings.passes,
            warmup_passes=self._job.budget.warmup_passes,
            seed=self._rng.getrandbits(32),
        )

    def _timed(self, timed: _Timed, attempt: _Attempt, settings: _VisitSettings) -> int:
        """Save or repeat what was measured; the units of work that are done."""
        times = timed.times
        self._job.seconds.add(times, repeat=attempt.number > 0)
        division = single_out(attempt.group, times.failures)
        self._follow(division, attempt.group)
        retried = {key for group in division.retries for key in group.keys}
        group = attempt.group.only(lambda member: self._able(member) and member.key not in retried)
        if not group.pending:
            return 0
        decision = settings.gate.decide(timed.sentinel_ms, attempt=attempt.number, disturbed=timed.disturbed)
        if decision is VisitDecision.REPEAT:
            self._queue.append(_Attempt(group, attempt.number + 1, timed.better(attempt.best)))
            return 0
        accepted = decision is VisitDecision.ACCEPT
        self._save(group, timed if accepted else timed.better(attempt.best), accepted=accepted)
        return sum(self._units[member.key] for member in group.pending)

    def _save(self, group: Group, timed: _Timed, *, accepted: bool) -> None:
        times = timed.times
        self._job.tracker.save_visits(
            [
                Visit(
                    graph_key=member.key,
                    round=self._number,
                    visit=self._saved,
                    samples_ms=times.samples_ms[member.key],
                    sentinel_ms=timed.sentinel_ms,
                    passes=len(times.windows) or len(times.samples_ms[member.key]),
                    accepted=accepted,
                    started_at=times.started_at,
                    device=times.device,
                    host=timed.host,
                )
                for member in (*group.pending, *group.bases)
            ],
            host_load=timed.host.load,
        )
        self._saved += 1

    def _untimed(self, failure: Failure, group: Group) -> None:
        if failure.key == SENTINEL_GRAPH.key():
            raise JobError(f"the sentinel cannot be timed: {failure.message}", hint="Nothing can be measured without it.")
        self._follow(divide(group, failure), group)

    def _follow(self, division: Division, group: Group) -> None:
        for failure in division.culprits:
            if self._may_be_innocent(failure):
                again = tuple(member for member in group.pending if member.needs(failure.key))
                self._queue.append(_Attempt(Group(again)))  # alone, in a fresh process
                continue
            self._artifacts.pop(str(failure.key), None)
            self._job.tracker.fail(failure)
        self._queue.extend(map(_Attempt, division.retries))

    def _may_be_innocent(self, failure: Failure) -> bool:
        """Whether a graph that something pending needs has crashed for the first time. Asking counts as a crash."""
        needed = {graph.key for planned in self._job.tracker.pending for graph in (planned.graph, planned.base) if graph}
        crashed = failure.status is Status.CRASHED and failure.key in needed
        return crashed and self._job.tracker.is_first_crash(str(failure.key))

    def _able(self, member: Member) -> bool:
        """Whether it can be timed: neither it nor its base has failed."""
        return member.key in self._artifacts and (member.base is None or member.base.key in self._artifacts)
