"""The last phase of a job: some of its entries are built several times from scratch, to tell how much builds differ.

All builds of a group of entries are live at once and timed in turn, in sentinel units, whatever the table's protocol: what is
asked is how builds differ, and so they must meet the same conditions. What a group told is kept when it ends, so that no more
than one is ever lost. Nothing here changes a value, and what fails here fails no job.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import perf_counter

from models.spec.measurements import Budget, Flag, Measurement
from models.spec.operators import OperatorSpec
from models.spec.rebuilds import FailedRebuild, RebuildSpread, RebuiltEntry
from models.spec.wire import JobCreate
from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.building import build_graphs
from profiler_service.jobs.context import JobContext
from profiler_service.jobs.messages import Failure, GroupRequest, GroupTimes, build_key
from profiler_service.jobs.planner import MIN_LIVE, PlannedWorkload
from profiler_service.jobs.rounds import OPERATORS_PER_SENTINEL, LiveLimits
from profiler_service.jobs.sifting import sifted_group
from profiler_service.measure.groups import GroupLimits, Member, draw_groups
from profiler_service.measure.rebuilds import BUILDS, Spread, chosen_keys, spread_of
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.measure.statistics import median


def rebuild_wanted(request: JobCreate) -> bool:
    """Whether the job is to tell how much builds differ: as asked for, or, where the whole grid is, by budget."""
    if request.rebuild is None:
        return request.workloads is None and request.budget is not Budget.QUICK
    return request.rebuild


def entries_to_rebuild(
    entries: Iterable[Measurement], known: RebuildSpread | None = None, *, seed: str, since: datetime | None = None
) -> list[Measurement]:
    """What is still to be built anew of a seeded choice: 5 % of the operators whose values are distinguishable from zero.

    Those of them that were built anew before count towards the 5 %.

    Args:
        entries: of the workloads that the job is about.
        known: what the table tells of builds.
        seed: of the choice.
        since: what was told before that instant is to be told again; None for nothing.
    """
    fit = {
        entry.key(): entry
        for entry in entries
        if isinstance(entry.workload, OperatorSpec) and entry.value_ms and not {*entry.flags} & _UNFIT
    }
    told = frozenset[str]() if known is None else known.known_keys(since)
    return [fit[key] for key in chosen_keys(fit, seed=seed, first=told) if key not in told]


_UNFIT = {Flag.BELOW_RESOLUTION, Flag.IMPORTED}


def measure_rebuilds(
    job: JobContext,
    entries: Sequence[Measurement],
    planned: Sequence[PlannedWorkload],
    artifacts: Mapping[str, GraphArtifact],
    *,
    limits: LiveLimits,
    seed: str,
    keep: Callable[[RebuildSpread], None],
) -> bool:
    """Tell how the builds of these entries differ; whether that came to its end before the job was stopped.

    Args:
        job: whose workers build and time.
        entries: what is rebuilt.
        planned: their graphs, in the same order.
        artifacts: graph key to artifact, of what the job has built and checked already, the sentinel's among them.
        limits: of live engines.
        seed: decides who is live with whom.
        keep: called with what each group told, when it ends.

    Raises:
        JobError: the sentinel cannot be built.
    """
    absent = [plan.graph.request for plan in planned if plan.graph.key not in artifacts]
    built = {**artifacts, **build_graphs(job, absent)} if absent else artifacts
    if job.stopped():  # perhaps before everything could be built and checked
        return False
    start_s = perf_counter()
    rng = random.Random(f"{seed} rebuilds")  # noqa: S311 - repeatable, not secret
    rebuilds = _Rebuilds(job, built[SENTINEL_GRAPH.key()])
    by_graph = dict(zip((plan.graph.key for plan in planned), entries, strict=True))
    try:
        if lost := [entry for key, entry in by_graph.items() if key not in built]:
            keep(rebuilds.failed(lost, "its graph could not be made, built and checked again", at=datetime.now(UTC)))
        members = [Member(plan.graph.key, BUILDS * job.memory_bytes(plan.graph)) for plan in planned if plan.graph.key in built]
        left = len(members)
        for group in draw_groups(members, [], _group_limits(limits), rng):
            job.reporter.phase(f"building {left} entries {BUILDS} times")
            if job.stopped():
                return False
            keep(rebuilds.visit([(built[key], by_graph[key]) for key in group.keys], seed=rng.getrandbits(32)))
            left -= len(group.keys)
    finally:
        job.seconds.rebuilds_s += perf_counter() - start_s
    return True


def _group_limits(limits: LiveLimits) -> GroupLimits:
    """In entries, each of which is several engines.

    No more than are needed for cold caches: a group is what an interruption loses, and building it may take minutes.
    """
    return GroupLimits(0, max(min(MIN_LIVE, limits.engines) // BUILDS, 1), limits.memory_bytes)


@dataclass(frozen=True)
class _Rebuilds:
    job: JobContext
    sentinel: GraphArtifact

    @property
    def rounds(self) -> int:
        return self.job.budget.min_rounds

    def visit(self, group: Sequence[tuple[GraphArtifact, Measurement]], *, seed: int) -> RebuildSpread:
        """Build and time a group, all rounds in one go: an engine lives no longer than that."""
        started_at = datetime.now(UTC)
        outcome = self.job.workers.time_group(
            GroupRequest(
                artifacts=tuple(artifact for artifact, _ in group),
                sentinel=self.sentinel,
                passes=self.rounds * self.job.budget.passes,
                warmup_passes=self.job.budget.warmup_passes,
                seed=seed,
                sentinel_every=OPERATORS_PER_SENTINEL,
                builds=BUILDS,
            )
        )
        if isinstance(outcome, Failure):  # the whole group's: whose fault it was changes nothing about the others' values
            return self.failed([entry for _, entry in group], outcome.message, at=started_at)
        rounds = [sifted_group(part, self.job.clock) for part in _parts(outcome, self.rounds)]
        free = [part for part in rounds if part.device is None or not part.device.throttled]
        counted = free if len(free) >= 2 else rounds
        reasons = {failure.key: failure.message for failure in outcome.failures}
        rebuilt: list[RebuiltEntry] = []
        failures: list[FailedRebuild] = []
        for artifact, entry in group:
            key = artifact.request.key()
            if (spread := _spread(key, counted)) is None:
                failures.append(_failure(entry, reasons.get(key, "")))
            else:
                rebuilt.append(_rebuilt(entry, spread))
        return self._told(rebuilt, failures, at=started_at, throttled=counted is not free)

    def failed(self, entries: Sequence[Measurement], message: str, *, at: datetime) -> RebuildSpread:
        """That none of these could be built."""
        return self._told([], [_failure(entry, message) for entry in entries], at=at)

    def _told(
        self, entries: Sequence[RebuiltEntry], failures: Sequence[FailedRebuild], *, at: datetime, throttled: bool = False
    ) -> RebuildSpread:
        return RebuildSpread(
            builds=BUILDS,
            rounds=self.rounds,
            entries=tuple(entries),
            failures=tuple(failures),
            failed=len(failures),
            throttled=throttled,
            measured_at=at,
        )


def _spread(key: str, rounds: Sequence[GroupTimes]) -> Spread | None:
    """Of the builds of one graph, in sentinel units of these rounds; None where a build has no times."""
    names = [build_key(key, number) for number in range(BUILDS)]
    if not all(name in part.samples_ms for name in names for part in rounds):
        return None
    usual_ms = median([median(part.sentinel_ms) for part in rounds])
    return spread_of(
        [[median(part.samples_ms[name]) * usual_ms / median(part.sentinel_ms) for part in rounds] for name in names]
    )


def _rebuilt(entry: Measurement, spread: Spread) -> RebuiltEntry:
    return RebuiltEntry(
        key=entry.key(),
        label=entry.workload.label(),
        value_ms=entry.value_ms or 0.0,
        between_ms=spread.between_ms,
        within_ms=spread.within_ms,
    )


def _failure(entry: Measurement, message: str) -> FailedRebuild:
    return FailedRebuild(key=entry.key(), label=entry.workload.label(), message=message)


def _parts(times: GroupTimes, count: int) -> list[GroupTimes]:
    """The passes in so many equal parts, one for each round."""

    def part(samples: Sequence[float], number: int) -> tuple[float, ...]:
        size = len(samples) // count
        return tuple(samples[number * size : (number + 1) * size])

    passes = len(times.windows) // count
    return [
        replace(
            times,
            samples_ms={key: part(samples, number) for key, samples in times.samples_ms.items()},
            sentinel_ms=part(times.sentinel_ms, number),
            windows=times.windows[number * passes : (number + 1) * passes],
        )
        for number in range(count)
    ]
