"""Building groups of entries several times and timing all builds in turn: what fails is told apart, and the rest goes on."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from models.spec.measurements import Status
from models.spec.rebuilds import FailedRebuild, RebuildSpread, RebuiltEntry
from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.context import JobContext
from profiler_service.jobs.round_robin import OPERATORS_PER_SENTINEL
from profiler_service.jobs.throttle_filter import filtered_group
from profiler_service.measure.rebuilds import BUILDS, Spread, spread_of
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.measure.statistics import median
from profiler_service.worker.protocol import Failure, GroupRequest, GroupTimes, build_key


@dataclass(frozen=True)
class RebuildSubject:
    """An entry that is built several times.

    Attributes:
        key, label: of the operator.
        value_ms: the entry's, above zero.
        artifact: of the graph that is timed for it.
    """

    key: str
    label: str
    value_ms: float
    artifact: GraphArtifact

    @property
    def graph_key(self) -> str:
        """Key of that graph."""
        return self.artifact.request.key()


class RebuildVisits:
    """The groups of one job.

    Args:
        job: whose workers build and time.
        sentinel: its artifact.
        keep: called with what each visit told, when it ends.
        rng: decides the order of runs.
    """

    def __init__(
        self, job: JobContext, sentinel: GraphArtifact, keep: Callable[[RebuildSpread], None], *, rng: random.Random
    ) -> None:
        self._job, self._sentinel, self._keep, self._rng = job, sentinel, keep, rng
        self._queue: deque[Sequence[RebuildSubject]] = deque()

    def visit(self, groups: Iterable[Sequence[RebuildSubject]]) -> bool:
        """Visit the groups, and whatever they are divided into; whether all was told before the job was stopped."""
        self._queue.extend(groups)
        while self._queue:
            self._job.reporter.phase(f"building {sum(map(len, self._queue))} entries {BUILDS} times")
            if self._job.stopped():
                return False
            self._visit(self._queue.popleft())
        return True

    def fail(self, failures: Sequence[FailedRebuild], *, at: datetime) -> None:
        """Keep that these could not be built or timed."""
        self._tell([], failures, at=at)

    def _visit(self, group: Sequence[RebuildSubject]) -> None:
        """Build and time a group, all rounds in one go: an engine lives no longer than that."""
        started_at = datetime.now(UTC)
        outcome = self._job.workers.time_group(
            GroupRequest(
                artifacts=tuple(member.artifact for member in group),
                sentinel=self._sentinel,
                passes=self._rounds * self._job.budget.passes,
                warmup_passes=self._job.budget.warmup_passes,
                seed=self._rng.getrandbits(32),
                sentinel_every=OPERATORS_PER_SENTINEL,
                builds=BUILDS,
            )
        )
        if isinstance(outcome, Failure):
            self._failed_whole(outcome, group, at=started_at)
        else:
            self._timed(outcome, group, at=started_at)

    def _timed(self, times: GroupTimes, group: Sequence[RebuildSubject], *, at: datetime) -> None:
        """Tell how builds differ, and what failed while the others were timed; out of memory, it is tried by itself."""
        rounds = [filtered_group(part, self._job.clock) for part in _parts(times, self._rounds)]
        free = [part for part in rounds if part.device is None or not part.device.throttled]
        counted = free if len(free) >= 2 else rounds
        failed = {failure.key: failure for failure in times.failures}
        rebuilt: list[RebuiltEntry] = []
        failures: list[FailedRebuild] = []
        for member in group:
            if (spread := _spread(member.graph_key, counted)) is not None:
                rebuilt.append(_rebuilt(member, spread))
            elif len(group) > 1 and _is_out_of_memory(failed.get(member.graph_key)):
                self._queue.append([member])
            else:
                failures.append(_failure(member, failed.get(member.graph_key)))
        self._tell(rebuilt, failures, at=at, throttled=counted is not free)

    def _failed_whole(self, failure: Failure, group: Sequence[RebuildSubject], *, at: datetime) -> None:
        """Nothing was timed: go on without the entry that is to blame, or find it by halving the group."""
        culprits = [member for member in group if member.graph_key == failure.key]
        if len(group) == 1 or failure.key == SENTINEL_GRAPH.key():  # without the sentinel no part of the group can be timed
            self.fail([_failure(member, failure) for member in group], at=at)
        elif culprits and not _is_out_of_memory(failure):
            self.fail([_failure(member, failure) for member in culprits], at=at)
            self._queue.append([member for member in group if member not in culprits])
        else:
            half = len(group) // 2
            self._queue.extend([group[:half], group[half:]])

    def _tell(
        self, entries: Sequence[RebuiltEntry], failures: Sequence[FailedRebuild], *, at: datetime, throttled: bool = False
    ) -> None:
        if not entries and not failures:
            return
        self._keep(
            RebuildSpread(
                builds=BUILDS,
                rounds=self._rounds,
                entries=tuple(entries),
                failures=tuple(failures),
                failed=len(failures),
                throttled=throttled,
                measured_at=at,
            )
        )

    @property
    def _rounds(self) -> int:
        return self._job.budget.min_rounds


def _is_out_of_memory(failure: Failure | None) -> bool:
    """Whether others that were live may have been to blame for it."""
    return failure is not None and failure.status is Status.OUT_OF_MEMORY


def _spread(key: str, rounds: Sequence[GroupTimes]) -> Spread | None:
    """Of the builds of one graph, in sentinel units of these rounds; None where a build has no times."""
    names = [build_key(key, number) for number in range(BUILDS)]
    if not all(name in part.samples_ms for name in names for part in rounds):
        return None
    usual_ms = median([median(part.sentinel_ms) for part in rounds])
    return spread_of(
        [[median(part.samples_ms[name]) * usual_ms / median(part.sentinel_ms) for part in rounds] for name in names]
    )


def _rebuilt(member: RebuildSubject, spread: Spread) -> RebuiltEntry:
    return RebuiltEntry(
        key=member.key,
        label=member.label,
        value_ms=member.value_ms,
        between_ms=spread.between_ms,
        within_ms=spread.within_ms,
    )


def _failure(member: RebuildSubject, failure: Failure | None) -> FailedRebuild:
    return FailedRebuild(key=member.key, label=member.label, message="" if failure is None else failure.message)


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
