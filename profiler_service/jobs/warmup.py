"""Before anything is measured: run the sentinel until the device is steady."""

from __future__ import annotations

from profiler_service.backends.base import GraphArtifact
from profiler_service.errors import JobError
from profiler_service.jobs.context import JobContext
from profiler_service.measure.statistics import median
from profiler_service.worker.protocol import Failure, IsolatedRequest

_RUNS = 50
"""Runs of the sentinel whose median is compared: about 15 ms on a CPU core."""

_STEADY = 0.02
"""Relative difference of two successive medians below which the device counts as steady."""

_MOST_ATTEMPTS = 20
"""After that a job starts all the same: on a noisy host the sentinel never rests, and is there to tell."""


def warm_up(job: JobContext, sentinel: GraphArtifact) -> None:
    """Run the sentinel until its median has settled, and with it the device's clock.

    Raises:
        JobError: the sentinel failed.
    """
    job.reporter.phase("warming up")
    previous_ms = sentinel_isolated_ms(job, sentinel)
    for _ in range(_MOST_ATTEMPTS):
        present_ms = sentinel_isolated_ms(job, sentinel)
        if abs(present_ms / previous_ms - 1) <= _STEADY or job.stopped():
            return
        previous_ms = present_ms


def sentinel_isolated_ms(job: JobContext, sentinel: GraphArtifact) -> float:
    """The sentinel's median by itself, back to back. Counts as time for warming up. Raises JobError if it fails."""
    times = job.workers.time_isolated(IsolatedRequest(sentinel, runs=_RUNS))
    if isinstance(times, Failure):
        raise JobError(f"the sentinel cannot be timed: {times.message}", hint="Nothing can be measured without it.")
    job.seconds.builds_s += times.build_s
    job.seconds.warmup_s += times.warmup_s + times.sampling_s
    return median(times.samples_ms)
