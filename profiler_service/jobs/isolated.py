"""The second phase of a job, the isolated protocols: every engine by itself, as most tables are made.

Kept for comparison, and for other people's tables: caches are warmer or colder than in a network and boundaries differ, so that
the values add up to networks less well than those of `in_context` (docs/measurement.md). Rounds still go over all workloads in
turn, since a value's uncertainty is the spread between rounds here as well.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter

from models.spec.measurements import ProtocolName
from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.context import JobContext
from profiler_service.jobs.progress import Work
from profiler_service.jobs.throttle_filter import filtered_isolated
from profiler_service.jobs.warmup import sentinel_isolated_ms
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.measure.stopping import BudgetSettings
from profiler_service.measure.visits import Visit, disturbed
from profiler_service.worker.protocol import Failure, IsolatedRequest
from profiler_service.worker.sampling import HOT_RUNS


def measure_isolated(job: JobContext, artifacts: Mapping[str, GraphArtifact], protocol: ProtocolName, *, seed: str) -> None:
    """Add rounds until nothing of the job is pending, or it is stopped.

    The sentinel is timed at the start of each round, for the record: nothing is normalised with it.

    Args:
        job: what is measured.
        artifacts: graph key to artifact, of all graphs that can be timed.
        protocol: one of the isolated ones.
        seed: decides the order.

    Raises:
        JobError: the sentinel failed.
    """
    job.tracker.finalize()
    while job.tracker.pending and not job.stopped():
        number = job.begin_round()
        sentinel_ms = sentinel_isolated_ms(job, artifacts[SENTINEL_GRAPH.key()])
        due = list(job.tracker.pending)
        random.Random(f"{seed} {number}").shuffle(due)  # noqa: S311 - repeatable, not secret
        for planned in due:
            if job.stopped():
                return
            start_s = perf_counter()
            job.host.begin()
            times = job.workers.time_isolated(isolated_request(artifacts[planned.graph.key], protocol, job.budget))
            host = job.host.end()
            if isinstance(times, Failure):
                job.tracker.fail(times if times.key is not None else replace(times, key=planned.graph.key))
            else:
                job.seconds.add(times)
                times = filtered_isolated(times, job.clock)
                visit = Visit(
                    graph_key=planned.graph.key,
                    round=number,
                    visit=0,
                    samples_ms=times.samples_ms,
                    sentinel_ms=sentinel_ms,
                    passes=len(times.samples_ms),
                    accepted=not disturbed(times.device, host),
                    started_at=times.started_at,
                    device=times.device,
                    host=host,
                )
                job.tracker.save_visits([visit], host_load=host.load)
            job.reporter.estimate.did(Work.VISIT, planned.operators, perf_counter() - start_s)
            job.reporter.tick()
        job.tracker.finalize()


def isolated_request(artifact: GraphArtifact, protocol: ProtocolName, budget: BudgetSettings) -> IsolatedRequest:
    """How one of the isolated protocols times an engine."""
    if protocol is ProtocolName.ISOLATED_HOT:
        return IsolatedRequest(artifact, runs=budget.hot_windows, runs_per_interval=HOT_RUNS)
    if protocol is ProtocolName.ISOLATED_COLD:
        return IsolatedRequest(artifact, runs=budget.cold_runs, cold=True)
    return IsolatedRequest(artifact, runs=budget.isolated_runs)
