"""The last phase of a job: some of the table's entries are built several times from scratch, to tell how much builds differ.

All builds of an entry are live at once and timed in turn, in sentinel units, whatever the table's protocol: what is asked is
how builds differ, and so they must meet the same conditions. Nothing here changes a value, and what fails here fails no job.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter

from models.spec.measurements import Flag, Measurement
from models.spec.operators import OperatorSpec
from models.spec.rebuilds import RebuildSpread, RebuiltEntry
from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.building import build_graphs
from profiler_service.jobs.context import JobContext
from profiler_service.jobs.messages import Failure, GroupRequest, GroupTimes, build_key
from profiler_service.jobs.planner import PlannedWorkload
from profiler_service.jobs.rounds import OPERATORS_PER_SENTINEL, LiveLimits
from profiler_service.jobs.sifting import sifted_group
from profiler_service.measure.groups import GroupLimits, Member, draw_groups
from profiler_service.measure.rebuilds import BUILDS, chosen_keys, spread_of
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.measure.statistics import median


def entries_to_rebuild(entries: Sequence[Measurement], *, seed: str) -> list[Measurement]:
    """A seeded choice of a table's operators, among those whose values are distinguishable from zero."""
    fit = {
        entry.key(): entry
        for entry in entries
        if isinstance(entry.workload, OperatorSpec) and entry.value_ms and not {*entry.flags} & _UNFIT
    }
    return [fit[key] for key in chosen_keys(list(fit), seed=seed)]


_UNFIT = {Flag.BELOW_RESOLUTION, Flag.IMPORTED}


def measure_rebuilds(
    job: JobContext,
    entries: Sequence[Measurement],
    planned: Sequence[PlannedWorkload],
    *,
    limits: LiveLimits,
    seed: str,
) -> RebuildSpread | None:
    """How the builds of these entries differ; None if the job was stopped before that was known.

    Args:
        job: whose workers build and time.
        entries: what is rebuilt.
        planned: their graphs, in the same order.
        limits: of a group of live engines.
        seed: decides who is live with whom.

    Raises:
        JobError: the sentinel cannot be built.
    """
    artifacts = build_graphs(job, [plan.graph.request for plan in planned])
    start_s = perf_counter()
    job.reporter.phase(f"building {len(entries)} entries {BUILDS} times")
    rebuilds = _Rebuilds(job, limits, random.Random(f"{seed} rebuilds"))  # noqa: S311 - repeatable, not secret
    try:
        return rebuilds.measure(dict(zip((plan.graph.key for plan in planned), entries, strict=True)), planned, artifacts)
    finally:
        job.seconds.rebuilds_s += perf_counter() - start_s


class _Rebuilds:
    def __init__(self, job: JobContext, limits: LiveLimits, rng: random.Random) -> None:
        self._job, self._limits, self._rng = job, limits, rng
        self._rounds = job.budget.min_rounds
        self._found: list[RebuiltEntry] = []
        self._throttled = False

    def measure(
        self, entries: dict[str, Measurement], planned: Sequence[PlannedWorkload], artifacts: dict[str, GraphArtifact]
    ) -> RebuildSpread | None:
        """See `measure_rebuilds`. Entries and artifacts are those of graph keys."""
        started_at = datetime.now(UTC)
        members = [Member(plan.graph.key, BUILDS * plan.graph.memory_bytes) for plan in planned if plan.graph.key in artifacts]
        limits = GroupLimits(0, max(self._limits.engines // BUILDS, 1), self._limits.memory_bytes)
        for group in draw_groups(members, [], limits, self._rng):
            if self._job.stopped():
                return None
            self._visit([artifacts[key] for key in group.keys], artifacts[SENTINEL_GRAPH.key()], entries)
        if self._job.stopped():  # perhaps before everything could be built and checked
            return None
        return RebuildSpread(
            builds=BUILDS,
            rounds=self._rounds,
            entries=tuple(sorted(self._found, key=lambda entry: (entry.label, entry.key))),
            failed=len(entries) - len(self._found),
            throttled=self._throttled,
            measured_at=started_at,
        )

    def _visit(self, artifacts: Sequence[GraphArtifact], sentinel: GraphArtifact, entries: dict[str, Measurement]) -> None:
        """Build and time a group, all rounds in one go: an engine lives no longer than that."""
        outcome = self._job.workers.time_group(
            GroupRequest(
                artifacts=tuple(artifacts),
                sentinel=sentinel,
                passes=self._rounds * self._job.budget.passes,
                warmup_passes=self._job.budget.warmup_passes,
                seed=self._rng.getrandbits(32),
                sentinel_every=OPERATORS_PER_SENTINEL,
                builds=BUILDS,
            )
        )
        self._job.reporter.tick()
        if isinstance(outcome, Failure):
            return  # the group counts as failed: whose fault it was changes nothing about the others' values
        rounds = [sifted_group(part, self._job.clock) for part in _parts(outcome, self._rounds)]
        free = [part for part in rounds if part.device is None or not part.device.throttled]
        counted = free if len(free) >= 2 else rounds
        self._throttled = self._throttled or counted is not free
        usual_ms = median([median(part.sentinel_ms) for part in counted])
        for artifact in artifacts:
            key = artifact.request.key()
            names = [build_key(key, number) for number in range(BUILDS)]
            if not all(name in outcome.samples_ms for name in names):
                continue
            times_ms = [
                [median(part.samples_ms[name]) * usual_ms / median(part.sentinel_ms) for part in counted] for name in names
            ]
            spread, entry = spread_of(times_ms), entries[key]
            self._found.append(
                RebuiltEntry(
                    key=entry.key(),
                    label=entry.workload.label(),
                    value_ms=entry.value_ms or 0.0,
                    between_ms=spread.between_ms,
                    within_ms=spread.within_ms,
                )
            )


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
