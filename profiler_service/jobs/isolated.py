"""Engines timed by themselves: the sentinel until the device is steady, and, for the isolated protocols, every engine of a job.

The isolated protocols are how most tables are made. They are there for comparison, and for other people's tables: caches are
warmer or colder than in a network and boundaries differ, so that the values add up to networks less well than those of
`in_context` (docs/measurement.md). Rounds still go over all workloads, since a value's uncertainty is the spread between rounds
here as well.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter

from models.spec.measurements import ProtocolName, Status
from profiler_service.backends.base import GraphArtifact
from profiler_service.errors import JobError
from profiler_service.jobs.context import JobContext
from profiler_service.jobs.planner import PlannedWorkload
from profiler_service.jobs.reporting import Work
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.measure.statistics import median
from profiler_service.measure.stopping import BudgetSettings
from profiler_service.measure.visits import HostState, Visit, disturbed
from profiler_service.worker.protocol import Failure, Isolated, TimingRequest, TimingResult
from profiler_service.worker.sampling import HOT_RUNS

_SENTINEL_RUNS = 50
"""Runs of the sentinel whose median is compared: about 15 ms on a CPU core."""

_WARMUP_RUNS = 5
"""Runs of an isolated engine before it is timed."""

_STEADY = 0.02
"""Relative difference of two successive medians below which the device counts as steady."""

_MOST_ATTEMPTS = 20
"""After that a job starts all the same: on a noisy host the sentinel never rests."""


def warm_up(job: JobContext, sentinel: GraphArtifact) -> None:
    """Run the sentinel until its median is steady, and with it the device's clock.

    Raises:
        JobError: the sentinel failed.
    """
    job.reporter.phase("warming up")
    previous_ms = _sentinel_ms(job, sentinel)
    for _ in range(_MOST_ATTEMPTS):
        present_ms = _sentinel_ms(job, sentinel)
        if abs(present_ms / previous_ms - 1) <= _STEADY or job.stopped():
            return
        previous_ms = present_ms


def measure_isolated(job: JobContext, artifacts: Mapping[str, GraphArtifact]) -> None:
    """Add rounds until nothing of the job is pending, or it is stopped.

    The sentinel is timed at the start of each round, for the record: nothing is normalised with it. An engine that crashes is
    tried once more, in the next round.

    Args:
        job: what is measured, with one of the isolated protocols.
        artifacts: graph key to artifact, of all graphs that can be timed.

    Raises:
        JobError: the sentinel failed.
    """
    job.tracker.finalize()
    while job.tracker.pending and not job.stopped():
        number = job.begin_round()
        sentinel_ms = _sentinel_ms(job, artifacts[SENTINEL_GRAPH.key()])
        pending = list(job.tracker.pending)
        random.Random(f"{job.id} {number}").shuffle(pending)  # noqa: S311 - repeatable, not secret
        for planned in pending:
            if job.stopped():
                return
            start_s = perf_counter()
            job.host.begin()
            times = job.workers.time(isolated_request(artifacts[planned.graph.key], job.request.protocol, job.budget))
            host = job.host.end()
            if isinstance(times, Failure):
                if times.status is not Status.CRASHED or not job.tracker.is_first_crash(planned.graph.key):
                    job.tracker.fail(times if times.key is not None else replace(times, key=planned.graph.key))
            else:
                job.seconds.add(times)
                visit = _visit(planned, times.filtered(job.clock), host, number=number, sentinel_ms=sentinel_ms)
                job.tracker.save_visits([visit], host_load=host.load)
            job.reporter.estimate.did(Work.VISIT, planned.operators, perf_counter() - start_s)
            job.reporter.tick()
        job.tracker.finalize()


def isolated_request(artifact: GraphArtifact, protocol: ProtocolName, budget: BudgetSettings) -> TimingRequest:
    """How one of the isolated protocols times an engine."""
    mode, passes = Isolated(), budget.isolated_runs
    if protocol is ProtocolName.ISOLATED_HOT:
        mode, passes = Isolated(runs_per_interval=HOT_RUNS), budget.hot_windows
    elif protocol is ProtocolName.ISOLATED_COLD:
        mode, passes = Isolated(cold=True), budget.cold_runs
    return TimingRequest((artifact,), mode, passes=passes, warmup_passes=_WARMUP_RUNS)


def _visit(planned: PlannedWorkload, times: TimingResult, host: HostState, *, number: int, sentinel_ms: float) -> Visit:
    samples_ms = times.samples_ms[planned.graph.key]
    return Visit(
        graph_key=planned.graph.key,
        round=number,
        visit=0,
        samples_ms=samples_ms,
        sentinel_ms=sentinel_ms,
        passes=len(samples_ms),
        accepted=not disturbed(times.device, host),
        started_at=times.started_at,
        device=times.device,
        host=host,
    )


def _sentinel_ms(job: JobContext, sentinel: GraphArtifact) -> float:
    """The sentinel's median by itself, back to back. Counts as time for warming up. Raises JobError if it fails."""
    times = job.workers.time(TimingRequest((sentinel,), Isolated(), passes=_SENTINEL_RUNS, warmup_passes=_WARMUP_RUNS))
    if isinstance(times, Failure):
        raise JobError(f"the sentinel cannot be timed: {times.message}", hint="Nothing can be measured without it.")
    job.seconds.builds_s += times.build_s
    job.seconds.warmup_s += times.warmup_s + times.sampling_s
    return median(times.samples_ms[sentinel.request.key()])
