"""The phases of a job whose device is held: build, time, confirm the scale, rebuild."""

from __future__ import annotations

from models.spec.measurements import ProtocolName
from models.spec.wire import JobState
from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.building import build_graphs
from profiler_service.jobs.context import JobContext
from profiler_service.jobs.isolated import measure_isolated, warm_up
from profiler_service.jobs.plain_check import confirm_scale
from profiler_service.jobs.rebuilding import measure_rebuilds
from profiler_service.jobs.round_robin import measure_round_robin
from profiler_service.measure.sentinel import SENTINEL_GRAPH


def measure_outstanding(job: JobContext, *, plain_check: bool) -> bool:
    """Build, time, confirm the scale, rebuild; whether nothing is left of the job then.

    Args:
        job: its device is held, and its workers measure on its table's target.
        plain_check: whether some engines are timed by the wall clock too.

    Raises:
        JobError: the sentinel cannot be built or timed.
    """
    job.expect_visits()
    artifacts = build_graphs(job, [graph.request for graph in job.plan.graphs])
    job.reporter.begin(JobState.MEASURING)
    _time(job, artifacts)
    done = not job.tracker.pending
    if job.request.protocol is ProtocolName.IN_CONTEXT:
        done = confirm_scale(job, artifacts, plain_check=plain_check) and done
    if done and job.outstanding.rebuild:
        done = measure_rebuilds(job, artifacts)
    job.reporter.finish()
    return done


def _time(job: JobContext, artifacts: dict[str, GraphArtifact]) -> None:
    """Make the device steady, then measure what is pending."""
    if (job.tracker.pending or job.outstanding.rebuild or job.outstanding.unchecked) and not job.stopped():
        warm_up(job, artifacts[SENTINEL_GRAPH.key()])
    if job.tracker.pending and not job.stopped():
        if job.request.protocol is ProtocolName.IN_CONTEXT:
            measure_round_robin(job, artifacts)
        else:
            measure_isolated(job, artifacts)
