"""Running one job from its plan to the last measurement, or taking it up where an earlier process left it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any

import structlog

from models.spec.errors import OpclockError, TableMismatchError
from models.spec.measurements import ProtocolName
from models.spec.tables import TableInfo
from models.spec.wire import JobCounts, JobPublic, JobState
from profiler_service.backends.base import GraphArtifact
from profiler_service.errors import JobConflictError, StorageError
from profiler_service.jobs.building import build_graphs
from profiler_service.jobs.context import JobContext, LiveLimits
from profiler_service.jobs.device_lock import device_lock
from profiler_service.jobs.host import HostWatch, free_memory_bytes
from profiler_service.jobs.isolated import measure_isolated, warm_up
from profiler_service.jobs.plain_check import confirm_scale
from profiler_service.jobs.planner import Outstanding, outstanding_of
from profiler_service.jobs.rebuilding import measure_rebuilds
from profiler_service.jobs.reporting import OnProgress, PhaseSeconds, Reporter
from profiler_service.jobs.round_robin import measure_round_robin
from profiler_service.jobs.tracker import JobTracker
from profiler_service.jobs.workers import Workers
from profiler_service.measure.sentinel import SENTINEL_GRAPH, SLOW
from profiler_service.measure.stopping import BUDGETS
from profiler_service.settings import Settings
from profiler_service.storage.store import Store

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Run:
    """One call of `JobRunner.run`."""

    on_progress: OnProgress
    cancelled: Event
    interrupted: Event
    seconds: PhaseSeconds = field(default_factory=PhaseSeconds)

    def stopped(self) -> bool:
        return self.cancelled.is_set() or self.interrupted.is_set()


class JobRunner:
    """Runs jobs, one at a time.

    Args:
        store: where jobs, visits and measurements are stored.
        settings: how many engines may be live, and how much memory they may take.
        open_workers: makes the processes for one job; they are closed at its end.
        lock_directory: of the device locks; the machine's by default.
        watch_host: makes what finds out, during a job, what else the machine does.
        is_quiet: whether values that were measured on a busy machine are worth measuring again now.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        open_workers: Callable[[], Workers],
        *,
        lock_directory: Path | None = None,
        watch_host: Callable[[], HostWatch] = HostWatch,
        is_quiet: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store, self._settings = store, settings
        self._open_workers, self._lock_directory = open_workers, lock_directory
        self._watch_host, self._is_quiet = watch_host, is_quiet
        self._workers: Workers | None = None

    def run(self, job_id: str, on_progress: OnProgress, cancelled: Event, interrupted: Event | None = None) -> PhaseSeconds:
        """Run a job until it is done, or go on with one that was interrupted.

        Visits are saved as each group ends and measurements as each workload is finished: nothing is measured twice,
        whenever and however this ends. A job that somebody else has ended meanwhile is left alone.

        Args:
            job_id: of a job that is queued, or was running when its process ended.
            on_progress: called with the job a few times a second, from this thread.
            cancelled: once set, the job ends as cancelled after the present visit; what was measured stays.
            interrupted: once set, it stops as well, but stays unfinished, to be run again.

        Returns:
            Where the time went.

        Raises:
            JobNotFoundError: no such job.
            OpclockError: the job as a whole failed, and says so; or the store did.
        """
        run = _Run(on_progress, cancelled, interrupted or Event())
        start_s = perf_counter()
        job = self._store.job(job_id)
        try:
            if not job.state.final:
                self._run(job, run)
        except JobConflictError as error:
            log.info("job was ended by somebody else", job=job_id, reason=error.message)
        except Exception as error:
            if not run.interrupted.is_set():
                self._fail(job_id, error, run)
                raise
            log.info("job was interrupted", job=job_id, reason=str(error))
        run.seconds.total_s = perf_counter() - start_s
        log.info("job run ended", job=job_id, state=self._store.job(job_id).state.value, **asdict(run.seconds))
        return run.seconds

    def abort(self) -> None:
        """End the processes of the job that is running, from another thread: its present visit is lost.

        Set `interrupted` before, or the job counts as failed.
        """
        if (workers := self._workers) is not None:
            workers.close()

    def _run(self, job: JobPublic, run: _Run) -> None:
        """Plan the job, hold the device, measure what is left, conclude."""
        outstanding = outstanding_of(job, self._store, self._is_quiet)
        with self._device(outstanding, run) as left:
            done = left is not None and self._measure(left, run)
        self._conclude(job, run, done=done)

    @contextmanager
    def _device(self, outstanding: Outstanding, run: _Run) -> Iterator[Outstanding | None]:
        """Hold the device for what is outstanding; yields what is left then, or None where the run was stopped first.

        Where nothing is left, a device that another process holds is not waited for.
        """
        if not outstanding.any:
            yield outstanding
            return
        job, waited = outstanding.job, Event()
        device = self._store.table_info(job.table_id).target.device

        def on_wait() -> None:
            waited.set()
            self._update(job.id, run, phase="waiting for the device")

        start_s = perf_counter()
        with device_lock(device, on_wait=on_wait, stopped=run.stopped, directory=self._lock_directory) as held:
            run.seconds.waiting_s = perf_counter() - start_s
            if held and waited.is_set():  # the process that held the device may have measured some of it
                outstanding = outstanding_of(self._store.job(job.id), self._store, self._is_quiet)
            yield outstanding if held else None

    def _measure(self, outstanding: Outstanding, run: _Run) -> bool:
        """Measure what is outstanding, with the device held; whether nothing is left then."""
        job = outstanding.job
        self._update(job.id, run, state=JobState.RUNNING, counts=outstanding.counts)
        if not outstanding.any:
            return True
        with self._open_workers() as workers:
            self._workers = workers
            try:
                self._update(job.id, run, phase="starting")
                _require_target(self._store.table_info(job.table_id), workers)
                self._forget_visits(outstanding)
                return measure_outstanding(self._context(outstanding, workers, run), plain_check=self._settings.plain_check)
            finally:
                self._workers = None

    def _conclude(self, job: JobPublic, run: _Run, *, done: bool) -> None:
        """Save the verdict on the table and the job's final state, unless it was interrupted and is to go on."""
        if done or run.cancelled.is_set():
            state, fraction = (JobState.DONE, {"fraction": 1.0}) if done else (JobState.CANCELLED, {})
            verdict = self._store.update_verdict(job.table_id)
            self._update(job.id, run, state=state, **fraction, phase="", eta_s=None, verdict=verdict)

    def _forget_visits(self, outstanding: Outstanding) -> None:
        """Delete the visits that must not enter new values. Of those made while the machine was busy, good ones stay."""
        job, since = outstanding.job, outstanding.since
        self._store.forget_visits(job.table_id, outstanding.stale, before=since)
        self._store.forget_visits(job.table_id, outstanding.retried, before=job.created_at)
        if outstanding.contaminated and (scale := self._store.table_info(job.table_id).scale) is not None:
            limit_ms = (1 + SLOW) * scale.reference_ms
            self._store.forget_visits(job.table_id, outstanding.contaminated, before=since, slower_than_ms=limit_ms)

    def _context(self, outstanding: Outstanding, workers: Workers, run: _Run) -> JobContext:
        """What the phases of the job work with."""
        job, before = outstanding.job, outstanding.counts
        budget = BUDGETS[job.request.budget]
        normalised = job.request.protocol is ProtocolName.IN_CONTEXT
        tracker = JobTracker(self._store, job.table_id, outstanding.plan.workloads, budget, normalised=normalised)

        def counts() -> JobCounts:
            return before.model_copy(
                update={"measured": before.measured + tracker.measured, "failed": before.failed + tracker.failed}
            )

        return JobContext(
            outstanding=outstanding,
            store=self._store,
            workers=workers,
            tracker=tracker,
            budget=budget,
            limits=LiveLimits(self._settings.live_engines, int(_free_bytes(workers) * self._settings.memory_fraction)),
            reporter=Reporter(self._store, job.id, counts, run.on_progress),
            seconds=run.seconds,
            stopped=run.stopped,
            host=self._watch_host(),
        )

    def _update(self, job_id: str, run: _Run, **changes: Any) -> None:
        run.on_progress(self._store.update_job(job_id, **changes))

    def _fail(self, job_id: str, error: Exception, run: _Run) -> None:
        message = f"{type(error).__name__}: {error}"
        if isinstance(error, OpclockError):
            message = f"{error.message}. {error.hint}" if error.hint else error.message
        log.error("job failed", job=job_id, reason=message, exc_info=not isinstance(error, OpclockError))
        with suppress(StorageError, JobConflictError):  # the first error is the one to report
            self._update(job_id, run, state=JobState.FAILED, phase="", eta_s=None, message=message)


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
    _time(job, artifacts)
    done = not job.tracker.pending
    if job.request.protocol is ProtocolName.IN_CONTEXT:
        confirm_scale(job, artifacts, plain_check=plain_check)
    if done and job.outstanding.rebuild:
        done = measure_rebuilds(job, artifacts)
    job.reporter.finish()
    return done


def _time(job: JobContext, artifacts: dict[str, GraphArtifact]) -> None:
    """Make the device steady, then measure what is pending."""
    if (job.tracker.pending or job.outstanding.rebuild) and not job.stopped():
        warm_up(job, artifacts[SENTINEL_GRAPH.key()])
    if job.tracker.pending and not job.stopped():
        if job.request.protocol is ProtocolName.IN_CONTEXT:
            measure_round_robin(job, artifacts)
        else:
            measure_isolated(job, artifacts)


def _free_bytes(workers: Workers) -> int:
    """Memory that engines can have: the host's, and no more than the device's where that has its own."""
    host, device = free_memory_bytes(), workers.description.free_bytes
    return host if device is None else min(host, device)


def _require_target(info: TableInfo, workers: Workers) -> None:
    """Refuse to mix the numbers of two targets in one table. Raises TableMismatchError."""
    if differences := info.target.differences(workers.description.target):
        raise TableMismatchError(
            f"the job's table belongs to another target: {'; '.join(differences)}",
            hint="Submit the job again: it gets a table of its own, or restore what differs.",
        )
