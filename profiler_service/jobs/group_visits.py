"""Visiting the groups of one round: what was slow or disturbed is repeated, what fails is dropped and the rest goes on."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter

from models.spec.measurements import Status
from profiler_service.backends.base import GraphArtifact
from profiler_service.errors import JobError
from profiler_service.jobs.context import JobContext
from profiler_service.jobs.progress import Work
from profiler_service.jobs.throttle_filter import filtered_group
from profiler_service.measure.groups import Group, Member
from profiler_service.measure.sentinel import SENTINEL_GRAPH, SentinelGate, Verdict
from profiler_service.measure.statistics import median
from profiler_service.measure.visits import HostState, Visit, disturbed
from profiler_service.worker.protocol import Failure, GroupRequest, GroupTimes


@dataclass(frozen=True)
class VisitSettings:
    """How the groups of one kind of workload are visited.

    Attributes:
        passes: timed passes of a visit.
        sentinel_every: engines per run of the sentinel within a pass.
        gate: judges the visits, from round to round.
    """

    passes: int
    sentinel_every: int
    gate: SentinelGate


@dataclass(frozen=True)
class _Timed:
    """What an attempt told, and what else the machine did meanwhile."""

    times: GroupTimes
    host: HostState

    @property
    def sentinel_ms(self) -> float:
        return median(self.times.sentinel_ms)

    @property
    def disturbed(self) -> bool:
        return disturbed(self.times.device, self.host)

    def better(self, other: _Timed | None) -> _Timed:
        """An attempt that nothing disturbed goes before others: a neighbour slows the sentinel otherwise than large engines.
        Among equals that with the faster sentinel.
        """
        mine = (self.disturbed, self.sentinel_ms)
        return self if other is None or mine < (other.disturbed, other.sentinel_ms) else other


@dataclass(frozen=True)
class _Attempt:
    """A group that is to be visited, how often that was tried, and the best attempt so far."""

    group: Group
    number: int = 0
    best: _Timed | None = None


class GroupVisits:
    """One round.

    Args:
        job: what is measured; visits and failures go to its tracker.
        artifacts: graph key to artifact. Graphs that fail are removed.
        units: graph key to units of work, of the graphs that may be due.
        number: of the round.
        rng: decides the order of runs.
    """

    def __init__(
        self,
        job: JobContext,
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

    def visit(self, groups: Iterable[Group], settings: VisitSettings) -> None:
        """Visit the groups, and save each one's visits as it is done; return early if the job is stopped.

        A visit that was slow or disturbed is repeated after the other groups: by then that may be over.

        Raises:
            JobError: the sentinel failed.
        """
        self._queue.extend(_Attempt(group) for group in groups)
        while self._queue and not self._job.stopped():
            attempt = self._queue.popleft()
            attempt = replace(attempt, group=attempt.group.only(self._able))  # others may have failed since
            if not attempt.group.due:
                continue
            start_s = perf_counter()
            self._job.host.begin()
            outcome = self._job.workers.time_group(
                GroupRequest(
                    artifacts=tuple(self._artifacts[key] for key in attempt.group.keys),
                    sentinel=self._sentinel,
                    passes=settings.passes,
                    warmup_passes=self._job.budget.warmup_passes,
                    seed=self._rng.getrandbits(32),
                    sentinel_every=settings.sentinel_every,
                )
            )
            host = self._job.host.end()
            if isinstance(outcome, Failure):
                self._failed_whole(outcome, attempt.group)
                units = 0
            else:
                units = self._timed(_Timed(filtered_group(outcome, self._job.clock), host), attempt, settings)
            self._job.reporter.estimate.did(Work.VISIT, units, perf_counter() - start_s)
            self._job.reporter.tick()

    def _timed(self, timed: _Timed, attempt: _Attempt, settings: VisitSettings) -> int:
        """Keep or repeat what was measured; the units of work that are done."""
        times = timed.times
        self._job.seconds.add(times, repeat=attempt.number > 0)
        alone = {failure.key for failure in times.failures if self._blame_unless_crowded(failure, attempt.group)}
        group = attempt.group.only(lambda member: self._able(member) and member.key not in alone)
        if not group.due:
            return 0
        verdict = settings.gate.decide(timed.sentinel_ms, attempt=attempt.number, disturbed=timed.disturbed)
        if verdict is Verdict.REPEAT:
            self._queue.append(_Attempt(group, attempt.number + 1, timed.better(attempt.best)))
            return 0
        accepted = verdict is Verdict.ACCEPT
        self._save(group, timed if accepted else timed.better(attempt.best), accepted=accepted)
        return sum(self._units[member.key] for member in group.due)

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
                for member in (*group.due, *group.bases)
            ],
            host_load=timed.host.load,
        )
        self._saved += 1

    def _blame_unless_crowded(self, failure: Failure, group: Group) -> bool:
        """One engine failed and the others were timed without it. Whether it is to be tried by itself: out of memory, it may
        be others that had taken it.
        """
        crowded = failure.status is Status.OUT_OF_MEMORY and len(group.due) > 1
        alone = group.only(lambda member: crowded and member.key == failure.key)
        if not alone.due:
            self._blame(failure)
            return False
        self._queue.append(_Attempt(Group(alone.due)))
        return True

    def _failed_whole(self, failure: Failure, group: Group) -> None:
        """Nothing was timed: go on without the engine that is to blame, or find it by halving the group."""
        if failure.key == SENTINEL_GRAPH.key():
            raise JobError(f"the sentinel cannot be timed: {failure.message}", hint="Nothing can be measured without it.")
        rest: list[Group] = []
        if failure.key in group.keys and failure.status is not Status.OUT_OF_MEMORY:
            self._blame(failure)
            rest = [group]
        elif len(group.due) > 1:
            half = len(group.due) // 2
            rest = [Group(group.due[:half]), Group(group.due[half:])]
        elif group.fillers:
            rest = [Group(group.due)]
        else:
            self._blame(replace(failure, key=group.due[0].key))
        self._queue.extend(map(_Attempt, rest))

    def _blame(self, failure: Failure) -> None:
        self._artifacts.pop(str(failure.key), None)
        self._job.tracker.fail(failure)

    def _able(self, member: Member) -> bool:
        """Whether it can be timed: neither it nor its base has failed."""
        return member.key in self._artifacts and (member.base is None or member.base.key in self._artifacts)
