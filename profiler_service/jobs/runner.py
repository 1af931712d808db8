"""Running one job from its plan to the last measurement, or taking it up where an earlier process left it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from time import perf_counter

import structlog

from models.spec.errors import OpclockError, TableMismatchError
from models.spec.measurements import ProtocolName
from models.spec.tables import TableInfo
from models.spec.wire import JobCounts, JobPublic, JobState
from profiler_service.backends.base import GraphArtifact
from profiler_service.errors import JobConflictError, StorageError
from profiler_service.jobs.building import build_graphs
from profiler_service.jobs.context import JobContext
from profiler_service.jobs.device_lock import device_lock
from profiler_service.jobs.host import HostWatch, free_memory_bytes
from profiler_service.jobs.isolated import measure_isolated
from profiler_service.jobs.outstanding import Outstanding, outstanding_of, to_rebuild
from profiler_service.jobs.plain_check import compare, time_plainly
from profiler_service.jobs.planner import plan_job
from profiler_service.jobs.rebuilding import measure_rebuilds
from profiler_service.jobs.reporting import OnProgress, PhaseSeconds, Reporter
from profiler_service.jobs.round_robin import LiveLimits, measure_round_robin
from profiler_service.jobs.tracker import JobTracker
from profiler_service.jobs.warmup import warm_up
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
        store: where jobs, visits and measurements are kept.
        settings: how many engines may be live, and how much memory they may take.
        open_workers: makes the processes for one job; they are closed at its end.
        lock_directory: of the device locks; the machine's by default.
        watch_host: makes what tells, during a job, what else the machine does.
        is_quiet: tells whether values that were measured on a busy machine are worth measuring again now.
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
        """Plan, hold the device, measure, judge."""
        outstanding = outstanding_of(job, self._store, self._is_quiet)
        if outstanding.any:
            done = self._hold_device_and_measure(job, outstanding, run)
        else:  # nothing to time: whoever holds the device is not waited for
            self._begin(job, outstanding, run)
            done = True
        if done or run.cancelled.is_set():
            state, fraction = (JobState.DONE, {"fraction": 1.0}) if done else (JobState.CANCELLED, {})
            verdict = self._store.update_verdict(job.table_id)
            run.on_progress(self._store.update_job(job.id, state=state, **fraction, phase="", eta_s=None, verdict=verdict))

    def _hold_device_and_measure(self, job: JobPublic, outstanding: Outstanding, run: _Run) -> bool:
        """Wait for the device and do what is left of the job; whether nothing is left then."""
        info, waited = self._store.table_info(job.table_id), Event()

        def on_wait() -> None:
            waited.set()
            run.on_progress(self._store.update_job(job.id, phase="waiting for the device"))

        start_s = perf_counter()
        with device_lock(info.target.device, on_wait=on_wait, stopped=run.stopped, directory=self._lock_directory) as held:
            run.seconds.waiting_s = perf_counter() - start_s
            if not held:
                return False
            if waited.is_set():  # who held the device may have measured some of it
                job = self._store.job(job.id)
                outstanding = outstanding_of(job, self._store, self._is_quiet)
            return self._measure(self._begin(job, outstanding, run), info, outstanding, run)

    def _measure(self, job: JobPublic, info: TableInfo, outstanding: Outstanding, run: _Run) -> bool:
        """Do what is left of the job, with the device held; whether nothing is left then."""
        if not outstanding.any:
            return True
        with self._open_workers() as workers:
            self._workers = workers
            try:
                run.on_progress(self._store.update_job(job.id, phase="starting"))
                _require_target(info, workers)
                self._make_room(job, outstanding)
                return self._build_and_time(job, outstanding, workers, run)
            finally:
                self._workers = None

    def _make_room(self, job: JobPublic, outstanding: Outstanding) -> None:
        """Forget the visits that must not enter new values. Of those made while the machine was busy, good ones are kept."""
        table_id = job.table_id
        self._store.forget_visits(table_id, outstanding.stale, before=outstanding.since)
        self._store.forget_visits(table_id, outstanding.retried, before=job.created_at)
        if outstanding.contaminated and (scale := self._store.table_info(table_id).scale) is not None:
            limit_ms = (1 + SLOW) * scale.reference_ms
            graphs = outstanding.contaminated
            self._store.forget_visits(table_id, graphs, before=outstanding.since, slower_than_ms=limit_ms)

    def _build_and_time(self, job: JobPublic, outstanding: Outstanding, workers: Workers, run: _Run) -> bool:
        """Measure what is outstanding, on workers of the table's target; whether nothing is left then."""
        request, plan = job.request, outstanding.plan
        in_turn = request.protocol is ProtocolName.IN_CONTEXT
        budget = BUDGETS[request.budget]
        tracker = JobTracker(self._store, job.table_id, plan.workloads, budget, normalised=in_turn)

        def counts() -> JobCounts:
            before = job.counts
            return before.model_copy(
                update={"measured": before.measured + tracker.measured, "failed": before.failed + tracker.failed}
            )

        reporter = Reporter(self._store, job.id, counts, run.on_progress)
        context = JobContext(workers, tracker, budget, reporter, run.seconds, run.stopped, host=self._watch_host())
        context.expect_visits()
        limits = LiveLimits(self._settings.live_engines, int(_free_bytes(workers) * self._settings.memory_fraction))
        artifacts = build_graphs(context, [graph.request for graph in plan.graphs])
        if (tracker.pending or outstanding.rebuild) and not context.stopped():
            warm_up(context, artifacts[SENTINEL_GRAPH.key()])
        if tracker.pending and not context.stopped():
            if in_turn:
                measure_round_robin(context, artifacts, plan.fillers, limits=limits, seed=job.id)
            else:
                measure_isolated(context, artifacts, request.protocol, seed=job.id)
        done = not tracker.pending
        if in_turn:
            self._confirm(job, outstanding, context, artifacts)
        if done and outstanding.rebuild:
            done = self._rebuild(job, outstanding, context, artifacts, limits)
        reporter.finish()
        return done

    def _confirm(
        self, job: JobPublic, outstanding: Outstanding, context: JobContext, artifacts: Mapping[str, GraphArtifact]
    ) -> None:
        """Time some engines by the wall clock, learn the target's scale from all that was seen, and see whether they agree."""
        keys = [planned.key for planned in outstanding.plan.workloads]
        timed = None
        if context.tracker.measured and self._settings.plain_check and not context.stopped():
            entries = list(self._store.measurements(job.table_id, keys).values())
            timed = time_plainly(context, outstanding.space, entries, artifacts, seed=job.id)
        scale = self._store.learn_scale(job.table_id)
        if timed is not None and timed.visits and scale is not None:
            entries = list(self._store.measurements(job.table_id, keys).values())
            on_a_gpu = bool(context.workers.description.target.compute_capability)
            check = compare(timed, entries, scale, at=datetime.now(UTC), device=on_a_gpu)
            self._store.set_check(job.table_id, check)
            log.info("checked by the wall clock", job=job.id, outcome=check.outcome.value, ratio=check.ratio)

    def _rebuild(
        self,
        job: JobPublic,
        outstanding: Outstanding,
        context: JobContext,
        artifacts: Mapping[str, GraphArtifact],
        limits: LiveLimits,
    ) -> bool:
        """Report how much builds of the job's entries differ; whether that is known then."""
        measured = self._store.measurements(job.table_id, outstanding.requested).values()
        entries = to_rebuild(job, measured, outstanding.since, self._store)
        workloads = [entry.workload for entry in entries]
        planned = plan_job(workloads, outstanding.space, job.request.protocol, finished=(), seed=job.id).workloads
        keep = partial(self._store.add_rebuild_spread, job.table_id)
        return measure_rebuilds(context, entries, planned, artifacts, limits=limits, seed=job.id, keep=keep)

    def _begin(self, job: JobPublic, outstanding: Outstanding, run: _Run) -> JobPublic:
        """The job as running, with its counts."""
        running = self._store.update_job(job.id, state=JobState.RUNNING, counts=outstanding.counts)
        run.on_progress(running)
        return running

    def _fail(self, job_id: str, error: Exception, run: _Run) -> None:
        message = f"{type(error).__name__}: {error}"
        if isinstance(error, OpclockError):
            message = f"{error.message}. {error.hint}" if error.hint else error.message
        log.error("job failed", job=job_id, reason=message, exc_info=not isinstance(error, OpclockError))
        with suppress(StorageError, JobConflictError):  # the first error is the one to tell
            run.on_progress(self._store.update_job(job_id, state=JobState.FAILED, phase="", eta_s=None, message=message))


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
