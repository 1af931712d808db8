"""The first phase of a job: every graph is made, built once and compared with its torch module."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from time import perf_counter

import structlog

from models.spec.graphs import GraphRequest
from models.spec.measurements import Status
from models.spec.operators import OperatorSpec
from profiler_service.backends.base import GraphArtifact
from profiler_service.errors import JobError
from profiler_service.jobs.context import JobContext
from profiler_service.jobs.reporting import Work
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.worker.protocol import BuildReport, Failure

log = structlog.get_logger(__name__)

MOST_FAILURES = 30
"""Graphs, in random order, that may fail before one is good. What is wrong is then not with single graphs."""


def build_graphs(job: JobContext, requests: Sequence[GraphRequest]) -> dict[str, GraphArtifact]:
    """Make and check graphs, the sentinel's besides; whatever needs one that fails is saved as failed at once.

    Each graph is checked while others are still being made: the cores stay busy, and large reference outputs do not pile up.

    A graph that takes its process along is tried once more, in a fresh one: memory may have run out for other reasons.

    Returns:
        Graph key to artifact, of every graph whose engine computes what it should.

    Raises:
        JobError: the sentinel cannot be built; or the first `MOST_FAILURES` graphs failed and none was good, so that the others
            are not tried.
    """
    building = _Building(job, {request.key(): request for request in (SENTINEL_GRAPH, *requests)})
    return building.run()


class _Building:
    def __init__(self, job: JobContext, requests: dict[str, GraphRequest]) -> None:
        self._job, self._requests = job, requests
        self._made: dict[str, GraphArtifact] = {}
        self._good: dict[str, GraphArtifact] = {}
        self._reasons: list[str] = []
        self._crashed: dict[str, GraphRequest] = {}
        self._since_s: float | None = None
        self._told: set[str] = set()

    def run(self) -> dict[str, GraphArtifact]:
        job = self._job
        job.reporter.phase("building")
        job.reporter.estimate.expect(Work.BUILD, len(self._requests) - 1)
        graphs_before_s, start_s = job.seconds.graphs_s, perf_counter()
        sentinel, *others = self._requests.values()
        random.Random(f"{job.id} graphs").shuffle(others)  # noqa: S311 - repeatable, not secret
        requests = [sentinel, *others]
        while requests and not job.stopped():
            before = set(self._crashed)
            for report in job.workers.check(self._artifacts(requests)):
                self._checked(report)
                if job.stopped():
                    break
            requests = [request for key, request in self._crashed.items() if key not in before]
        job.seconds.builds_s += perf_counter() - start_s - (job.seconds.graphs_s - graphs_before_s)
        return self._good

    def _artifacts(self, requests: Sequence[GraphRequest]) -> Iterator[GraphArtifact]:
        """The graphs that could be made, as they are made. Waiting for them is what counts as time for graphs."""
        start_s = perf_counter()
        for request, outcome in self._job.workers.prepare(requests):
            self._job.seconds.graphs_s += perf_counter() - start_s
            if isinstance(outcome, Failure):
                self._failed(outcome)
            else:
                self._made[request.key()] = outcome
                self._tell_of_torch(outcome)
                yield outcome
            start_s = perf_counter()
        self._job.seconds.graphs_s += perf_counter() - start_s

    def _tell_of_torch(self, artifact: GraphArtifact) -> None:
        """Say once for each kind that `torch.onnx` exports it, which takes much longer than ours."""
        subject, seconds = artifact.request.subject, artifact.torch_export_s
        what = f"kind {subject.kind}" if isinstance(subject, OperatorSpec) else subject.label()
        if seconds is not None and what not in self._told:
            self._told.add(what)
            text = f"{what}: exported by torch.onnx, {seconds:.1f} s a graph"
            log.info(text, job=self._job.id)
            self._job.reporter.phase(f"building; {text}")

    def _checked(self, report: BuildReport) -> None:
        self._job.tracker.note_build(report)
        if report.status is Status.OK:
            self._good[report.key] = self._made[report.key]
            self._done()
        else:
            self._failed(Failure(report.status, report.message, report.key))

    def _failed(self, failure: Failure) -> None:
        if failure.status is Status.CRASHED and failure.key is not None and failure.key not in self._crashed:
            self._crashed[failure.key] = self._requests[failure.key]
            log.warning("a graph took its process along and is tried once more", job=self._job.id, reason=failure.message)
            return
        if failure.key == SENTINEL_GRAPH.key():
            raise JobError(
                f"the sentinel cannot be built: {failure.message}",
                hint="Nothing can be measured without it: see what `profiler-service doctor` says of the backend.",
            )
        self._job.tracker.fail(failure)
        self._done()
        self._reasons.append(failure.message)
        counts = self._job.outstanding.counts
        good = counts.reused + counts.measured + len(self._good.keys() - {SENTINEL_GRAPH.key()})
        if len(self._reasons) >= MOST_FAILURES and not good:
            (reason, count), *_ = Counter(self._reasons).most_common(1)
            raise JobError(
                f"the first {len(self._reasons)} graphs failed and none was good; {count} of them: {reason}",
                hint="The others were not tried. See `profiler-service doctor`, and submit the job again: it tries them anew.",
            )

    def _done(self) -> None:
        """Count one graph; but not the first, which waited for processes to start and would foretell hours."""
        now_s = perf_counter()
        if self._since_s is not None:
            self._job.reporter.estimate.did(Work.BUILD, 1, now_s - self._since_s)
        self._since_s = now_s
        self._job.reporter.tick()
