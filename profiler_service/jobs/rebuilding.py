"""The last phase of a job: some of its entries are built several times from scratch, to report how much builds differ.

All builds of a group of entries are live at once and timed round-robin, in sentinel units, whatever the table's protocol: they
are compared, and so they must meet the same conditions. What a group showed is saved when it ends, so that an interruption
loses one group at most. A group that fails goes on without the culprit (`culprits`). Nothing here changes a value, and what
fails here fails no job.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

from models.spec.measurements import Measurement
from models.spec.rebuilds import FailedRebuild, RebuildSpread, RebuiltEntry
from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.building import build_graphs
from profiler_service.jobs.context import JobContext, LiveLimits
from profiler_service.jobs.culprits import divide, single_out
from profiler_service.jobs.planner import MIN_LIVE, PlannedWorkload, plan_job, to_rebuild
from profiler_service.jobs.round_robin import OPERATORS_PER_SENTINEL
from profiler_service.measure.groups import Group, GroupLimits, Member, draw_groups
from profiler_service.measure.rebuilds import BUILDS, VarianceComponents, spread_in_sentinel_units
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.worker.protocol import Failure, RoundRobin, TimingRequest, TimingResult, build_key


def measure_rebuilds(job: JobContext, artifacts: Mapping[str, GraphArtifact]) -> bool:
    """Save how the builds of some of the job's entries differ; whether that came to its end before the job was stopped.

    Args:
        job: whose entries have their values already.
        artifacts: graph key to artifact, of what the job has built and checked already, the sentinel's among them.

    Raises:
        JobError: the sentinel cannot be built.
    """
    outstanding = job.outstanding
    measured = job.store.measurements(job.table_id, outstanding.requested).values()
    entries = to_rebuild(outstanding.job, measured, outstanding.since, job.store)
    workloads = [entry.workload for entry in entries]
    planned = plan_job(workloads, outstanding.space, job.request.protocol, finished=(), seed=job.id).workloads
    absent = [plan.graph.request for plan in planned if plan.graph.key not in artifacts]
    built = {**artifacts, **build_graphs(job, absent)} if absent else artifacts
    if job.stopped():  # perhaps before everything could be built and checked
        return False
    start_s = perf_counter()
    try:
        return _rebuild(job, dict(zip((plan.graph.key for plan in planned), entries, strict=True)), planned, built)
    finally:
        job.seconds.rebuilds_s += perf_counter() - start_s


def _rebuild(
    job: JobContext,
    entries: Mapping[str, Measurement],
    planned: Sequence[PlannedWorkload],
    artifacts: Mapping[str, GraphArtifact],
) -> bool:
    """Rebuild the entries, by graph key; whether all of them were."""
    rng = random.Random(f"{job.id} rebuilds")  # noqa: S311 - repeatable, not secret
    subjects = {
        key: _Subject(entry.key(), entry.workload.label(), entry.value_ms, artifacts[key])
        for key, entry in entries.items()
        if key in artifacts and entry.value_ms is not None
    }
    visits = _RebuildVisits(job, artifacts[SENTINEL_GRAPH.key()], subjects, rng=rng)
    visits.save([], [_lost(job, entry, key) for key, entry in entries.items() if key not in artifacts], at=datetime.now(UTC))
    graphs = [plan.graph for plan in planned if plan.graph.key in subjects]
    members = [Member(graph.key, BUILDS * job.memory_bytes(graph)) for graph in graphs]
    return visits.visit(draw_groups(members, [], _group_limits(job.limits), rng))


def _group_limits(limits: LiveLimits) -> GroupLimits:
    """In entries, each of which is several engines.

    No more than are needed for cold caches: a group is what an interruption loses, and building it may take minutes.
    """
    return GroupLimits(0, max(min(MIN_LIVE, limits.engines) // BUILDS, 1), limits.memory_bytes)


def _lost(job: JobContext, entry: Measurement, graph_key: str) -> FailedRebuild:
    """That an entry's graph, of which there was an engine once, cannot be built now."""
    message = "its graph could not be made, built and checked again"
    if reason := job.tracker.why_failed(graph_key):
        message += f": {reason}"
    return FailedRebuild(key=entry.key(), label=entry.workload.label(), message=message)


@dataclass(frozen=True)
class _Subject:
    """An entry that is rebuilt.

    Attributes:
        key, label: of the operator.
        value_ms: the entry's, above zero.
        artifact: of the graph that is timed for it.
    """

    key: str
    label: str
    value_ms: float
    artifact: GraphArtifact


class _RebuildVisits:
    """The groups of one job, each visited once.

    Args:
        job: whose workers build and time.
        sentinel: its artifact.
        subjects: graph key to entry.
        rng: decides the order of runs.
    """

    def __init__(
        self, job: JobContext, sentinel: GraphArtifact, subjects: Mapping[str, _Subject], *, rng: random.Random
    ) -> None:
        self._job, self._sentinel, self._subjects, self._rng = job, sentinel, subjects, rng
        self._queue: deque[Group] = deque()

    def visit(self, groups: Iterable[Group]) -> bool:
        """Visit the groups, and whatever they are divided into; whether none was left when the job was stopped."""
        self._queue.extend(groups)
        while self._queue:
            self._job.reporter.phase(f"building {sum(len(group.pending) for group in self._queue)} entries {BUILDS} times")
            if self._job.stopped():
                return False
            self._visit(self._queue.popleft())
        return True

    def _visit(self, group: Group) -> None:
        """Build and time a group, all rounds in one go: an engine lives no longer than that."""
        started_at = datetime.now(UTC)
        outcome = self._job.workers.time(
            TimingRequest(
                tuple(self._subjects[key].artifact for key in group.keys),
                RoundRobin(self._sentinel, sentinel_every=OPERATORS_PER_SENTINEL, builds=BUILDS),
                passes=self._rounds * self._job.budget.passes,
                warmup_passes=self._job.budget.warmup_passes,
                seed=self._rng.getrandbits(32),
            )
        )
        if isinstance(outcome, Failure):
            self._untimed(outcome, group, at=started_at)
        else:
            self._timed(outcome, group, at=started_at)

    def _timed(self, times: TimingResult, group: Group, *, at: datetime) -> None:
        """Save how builds differ, and what failed while the others were timed."""
        rounds = [part.filtered(self._job.clock) for part in times.split(self._rounds)]
        unthrottled = [part for part in rounds if part.device is None or not part.device.throttled]
        counted = unthrottled if len(unthrottled) >= 2 else rounds
        division = single_out(group, times.failures)
        self._queue.extend(division.retries)
        rebuilt = [_rebuilt(self._subjects[key], spread) for key in group.keys if (spread := _spread(key, counted)) is not None]
        self.save(rebuilt, self._failed(division.culprits), at=at, throttled=counted is not unthrottled)

    def _untimed(self, failure: Failure, group: Group, *, at: datetime) -> None:
        """Save the culprit's failure, and queue what is left of the group."""
        if failure.key == SENTINEL_GRAPH.key():  # without the sentinel no part of the group can be timed
            self.save([], [_failed(self._subjects[key], failure) for key in group.keys], at=at)
            return
        division = divide(group, failure)
        self._queue.extend(division.retries)
        self.save([], self._failed(division.culprits), at=at)

    def _failed(self, failures: Iterable[Failure]) -> list[FailedRebuild]:
        return [_failed(self._subjects[str(failure.key)], failure) for failure in failures]

    def save(
        self, entries: Sequence[RebuiltEntry], failures: Sequence[FailedRebuild], *, at: datetime, throttled: bool = False
    ) -> None:
        """Save what was found out about these entries. `at`: when that began, UTC."""
        if not entries and not failures:
            return
        self._job.store.add_rebuild_spread(
            self._job.table_id,
            RebuildSpread(
                builds=BUILDS,
                rounds=self._rounds,
                entries=tuple(entries),
                failures=tuple(failures),
                failed=len(failures),
                throttled=throttled,
                measured_at=at,
            ),
        )

    @property
    def _rounds(self) -> int:
        return self._job.budget.min_rounds


def _spread(key: str, rounds: Sequence[TimingResult]) -> VarianceComponents | None:
    """Of the builds of one graph, in sentinel units of these rounds; None where a build has no times."""
    names = [build_key(key, number) for number in range(BUILDS)]
    if not all(name in part.samples_ms for name in names for part in rounds):
        return None
    return spread_in_sentinel_units(
        [[part.samples_ms[name] for part in rounds] for name in names], [part.sentinel_ms for part in rounds]
    )


def _rebuilt(subject: _Subject, spread: VarianceComponents) -> RebuiltEntry:
    return RebuiltEntry(
        key=subject.key,
        label=subject.label,
        value_ms=subject.value_ms,
        between_ms=spread.between_ms,
        within_ms=spread.within_ms,
    )


def _failed(subject: _Subject, failure: Failure) -> FailedRebuild:
    return FailedRebuild(key=subject.key, label=subject.label, message=failure.message)
