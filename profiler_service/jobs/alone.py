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
from profiler_service.jobs.sifting import sifted_alone
from profiler_service.jobs.warmup import sentinel_alone_ms
from profiler_service.measure.budgets import BudgetSettings
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.measure.visits import Visit, disturbed
from profiler_service.worker.protocol import AloneRequest, Failure
from profiler_service.worker.sampling import HOT_RUNS


def measure_alone(job: JobContext, artifacts: Mapping[str, GraphArtifact], protocol: ProtocolName, *, seed: str) -> None:
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
    job.ledger.settle()
    while job.ledger.pending and not job.stopped():
        number = job.begin_round()
        sentinel_ms = sentinel_alone_ms(job, artifacts[SENTINEL_GRAPH.key()])
        due = list(job.ledger.pending)
        random.Random(f"{seed} {number}").shuffle(due)  # noqa: S311 - repeatable, not secret
        for planned in due:
            if job.stopped():
                return
            start_s = perf_counter()
            job.host.begin()
            times = job.workers.time_alone(alone_request(artifacts[planned.graph.key], protocol, job.budget))
            host = job.host.end()
            if isinstance(times, Failure):
                job.ledger.fail(times if times.key is not None else replace(times, key=planned.graph.key))
            else:
                job.seconds.add(times)
                times = sifted_alone(times, job.clock)
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
                job.ledger.save_visits([visit], host_load=host.load)
            job.reporter.estimate.did(Work.VISIT, planned.operators, perf_counter() - start_s)
            job.reporter.tick()
        job.ledger.settle()


def alone_request(artifact: GraphArtifact, protocol: ProtocolName, budget: BudgetSettings) -> AloneRequest:
    """How one of the isolated protocols times an engine."""
    if protocol is ProtocolName.ISOLATED_HOT:
        return AloneRequest(artifact, runs=budget.hot_windows, together=HOT_RUNS)
    if protocol is ProtocolName.ISOLATED_COLD:
        return AloneRequest(artifact, runs=budget.cold_runs, cold=True)
    return AloneRequest(artifact, runs=budget.alone_runs)
