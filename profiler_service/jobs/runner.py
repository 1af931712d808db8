"""Running one job from its plan to the last measurement, or taking it up where an earlier process left it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from math import inf
from pathlib import Path
from threading import Event, Lock
from time import perf_counter
from typing import Any

import structlog

from models.spec.errors import OpclockError, TableMismatchError
from models.spec.measurements import ProtocolName
from models.spec.tables import TableInfo
from models.spec.wire import JobCounts, JobPublic, JobState
from profiler_service.errors import (
    DatabaseError,
    FullDiskError,
    JobConflictError,
    JobError,
    JobHeldError,
    StorageError,
)
from profiler_service.jobs.context import JobContext, LiveLimits
from profiler_service.jobs.device_lock import device_lock
from profiler_service.jobs.host import HostWatch
from profiler_service.jobs.measuring import measure_outstanding
from profiler_service.jobs.planner import Outstanding, outstanding_of
from profiler_service.jobs.process_lock import sole_run
from profiler_service.jobs.refusals import Refusals, passing_problem
from profiler_service.jobs.reporting import OnProgress, PhaseSeconds, Reporter, Waits
from profiler_service.jobs.tracker import JobTracker
from profiler_service.jobs.workers import Workers
from profiler_service.measure.sentinel import SLOW
from profiler_service.measure.stopping import BUDGETS
from profiler_service.settings import Settings
from profiler_service.storage.database import Patience
from profiler_service.storage.store import Store

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Run:
    """One call of `JobRunner.run`."""

    store: Store
    waits: Waits
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
        retry_s: after which what the database or the system refused for now is tried again.
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
        retry_s: float = 0.5,
    ) -> None:
        self._store, self._settings = store, settings
        self._open_workers, self._lock_directory = open_workers, lock_directory
        self._watch_host, self._is_quiet, self._retry_s = watch_host, is_quiet, retry_s
        self._lock = Lock()
        self._running_id: str | None = None
        self._workers: Workers | None = None

    def run(self, job_id: str, on_progress: OnProgress, cancelled: Event, interrupted: Event | None = None) -> PhaseSeconds:
        """Run a job until it is done, or go on with one that was interrupted.

        Visits are saved as each group ends and measurements as each workload is finished: nothing is measured twice,
        whenever and however this ends. A job that somebody else has ended, paused or taken up meanwhile is left alone: of this
        attempt nothing more is stored.

        Args:
            job_id: of a job that is queued, or was running when its process ended.
            on_progress: called with the job a few times a second, from this thread.
            cancelled: once set, the job ends as cancelled after the present visit; what was measured stays.
            interrupted: once set, it stops as well, but stays unfinished, to be run again.

        Returns:
            Where the time went.

        Raises:
            JobNotFoundError: no such job.
            JobHeldError: another process runs it.
            DatabaseError: its state cannot be stored for now; it goes on when it is run again.
            OpclockError: the job as a whole failed, and says so; or the store did.
        """
        waits, interrupted = Waits(on_progress), interrupted or Event()
        patience = Patience(
            self._settings.database_patience_s,
            on_wait=lambda problem: waits.wait("database", problem.message),
            stopped=interrupted.is_set,
            pause_s=self._retry_s,
        )
        with self._lock:
            self._running_id = job_id
        try:
            with sole_run(self._store.location, job_id) as guard, self._store.patient(patience, guard) as store:
                return self._run_once(job_id, _Run(store, waits, cancelled, interrupted))
        finally:
            with self._lock:
                self._running_id = None

    def abort(self, job_id: str | None = None) -> None:
        """End the processes of the job that is running, from another thread: its present visit is lost.

        Set `cancelled` or `interrupted` before, or the job counts as failed.

        Args:
            job_id: nothing happens where another one is running; None for whichever is.
        """
        with self._lock:
            if self._workers is not None and job_id in (None, self._running_id):
                self._workers.close()

    def _run_once(self, job_id: str, run: _Run) -> PhaseSeconds:
        start_s = perf_counter()
        job = run.store.job(job_id)
        run.waits.job = job
        try:
            if not job.state.final and job.state is not JobState.PAUSED:
                run = replace(run, store=run.store.attempt(job_id, run.store.begin_attempt(job_id)))
                self._run(job, run)
        except JobConflictError as error:
            log.info("job was ended, paused or taken over by somebody else", job=job_id, reason=error.message)
        except Exception as error:
            if run.interrupted.is_set():
                log.info("job was interrupted", job=job_id, reason=str(error))
            elif run.cancelled.is_set() and not isinstance(error, DatabaseError):
                log.info("job was cut off", job=job_id, reason=str(error))
                self._cancel(job, run)
            elif isinstance(error, JobHeldError) or (isinstance(error, DatabaseError) and error.passing):
                raise  # the job has not failed: it goes on there, or when the database can be used again
            else:
                self._fail(job_id, error, run)
                raise
        run.seconds.total_s = perf_counter() - start_s
        log.info("job run ended", job=job_id, state=run.store.job(job_id).state.value, **asdict(run.seconds))
        return run.seconds

    def _run(self, job: JobPublic, run: _Run) -> None:
        """Attempt the job until the system has what it needs: others give file descriptors back, and make room on disks."""
        refusals = Refusals(self._settings.database_patience_s)
        while True:
            try:
                self._attempt(run.store.job(job.id), run)
            except (OSError, FullDiskError) as error:
                problem = passing_problem(error)
                if not problem or run.cancelled.is_set() or refusals.too_long(self._progress(job.id, run)):
                    raise
                run.waits.wait("system", problem)
            else:
                return
            if run.interrupted.wait(self._retry_s):
                return

    def _progress(self, job_id: str, run: _Run) -> tuple[float, ...]:
        """Numbers of which one grows where the job gets further."""
        job = run.store.job(job_id)
        return job.fraction, job.counts.finished, run.store.count_visits(job.table_id, since=job.created_at)

    def _attempt(self, job: JobPublic, run: _Run) -> None:
        """Plan the job, hold the device, measure what is left, conclude."""
        outstanding = self._outstanding(job, run)
        self._update(job.id, run, state=JobState.PLANNED, counts=outstanding.counts)
        with self._device(outstanding, run) as left:
            done = left is not None and self._measure(left, run)
        if done:
            self._finish(outstanding, run)
        elif run.cancelled.is_set():
            self._cancel(job, run)

    def _outstanding(self, job: JobPublic, run: _Run) -> Outstanding:
        return outstanding_of(job, run.store, self._is_quiet, plain_check=self._settings.plain_check)

    @contextmanager
    def _device(self, outstanding: Outstanding, run: _Run) -> Iterator[Outstanding | None]:
        """Hold the device for what is outstanding; yields what is left then, or None where the run was stopped first.

        Where nothing is left, a device that another process holds is not waited for.
        """
        if not outstanding.any:
            yield outstanding
            return
        job, waited = outstanding.job, Event()
        device = run.store.table_info(job.table_id).target.device

        def on_wait(holder: str) -> None:
            waited.set()
            log.info("waiting for the device", job=job.id, device=device, holder=holder)
            self._update(job.id, run, phase=f"waiting for the device, which {holder} holds")

        start_s = perf_counter()
        with device_lock(device, on_wait=on_wait, stopped=run.stopped, directory=self._lock_directory) as held:
            run.seconds.waiting_s = perf_counter() - start_s
            if held and waited.is_set():  # the process that held the device may have measured some of it
                outstanding = self._outstanding(run.store.job(job.id), run)
            yield outstanding if held else None

    def _measure(self, outstanding: Outstanding, run: _Run) -> bool:
        """Measure what is outstanding, with the device held; whether nothing is left then."""
        job = outstanding.job
        if not outstanding.any:
            if outstanding.counts.measured and job.request.protocol is ProtocolName.IN_CONTEXT:
                run.store.learn_scale(job.table_id)  # it may have been interrupted before it did
            self._update(job.id, run, counts=outstanding.counts, message="")
            return True
        with self._open_workers() as workers, self._abortable(workers, run):
            self._update(job.id, run, state=JobState.BUILDING, counts=outstanding.counts, phase="starting")
            _require_target(run.store.table_info(job.table_id), workers)
            self._forget_visits(outstanding, run.store)
            context = self._context(outstanding, workers, run)
            done = measure_outstanding(context, plain_check=self._settings.plain_check)
            # In place of what an earlier attempt said.
            self._update(job.id, run, message=context.tracker.failed_beside_values())
            return done

    @contextmanager
    def _abortable(self, workers: Workers, run: _Run) -> Iterator[None]:
        """Within it, `abort` ends these processes. Nothing begins any more where the job was stopped before."""
        with self._lock:
            if run.stopped():
                workers.close()
            self._workers = workers
        try:
            yield
        finally:
            with self._lock:
                self._workers = None

    def _finish(self, outstanding: Outstanding, run: _Run) -> None:
        """Save the verdict on the table, and that the job is done: only if all that it measured is in the file that is there.

        Raises:
            JobError: something is missing.
        """
        job = outstanding.job
        run.store.check()
        missing = set(outstanding.requested).difference(run.store.measured_keys(job.table_id))
        if missing:
            raise JobError(
                f"{len(missing)} of its {len(outstanding.requested)} workloads were saved and are not in the database any more",
                hint="Something else has changed the file: run `profiler-service doctor`, and submit the job again.",
            )
        verdict = run.store.update_verdict(job.table_id)
        self._update(job.id, run, state=JobState.DONE, fraction=1.0, phase="", eta_s=None, verdict=verdict)

    def _cancel(self, job: JobPublic, run: _Run) -> None:
        """Save the verdict on the table and that the job was cancelled."""
        verdict = run.store.update_verdict(job.table_id)
        self._update(job.id, run, state=JobState.CANCELLED, phase="", eta_s=None, verdict=verdict)

    def _forget_visits(self, outstanding: Outstanding, store: Store) -> None:
        """Delete the visits that must not enter new values. Of those made while the machine was busy, good ones stay; those
        of values that are measured anew stay until there is a new value (`JobTracker`). Isolated protocols have no scale by
        which a visit is slow: there the accepted ones are good.
        """
        job, since = outstanding.job, outstanding.since
        store.forget_visits(job.table_id, outstanding.retried, before=job.created_at)
        if outstanding.contaminated:
            scale = store.table_info(job.table_id).scale
            limit_ms = inf if scale is None else (1 + SLOW) * scale.reference_ms
            store.forget_visits(job.table_id, outstanding.contaminated, before=since, slower_than_ms=limit_ms)

    def _context(self, outstanding: Outstanding, workers: Workers, run: _Run) -> JobContext:
        """What the phases of the job work with."""
        job, before = outstanding.job, outstanding.counts
        budget = BUDGETS[job.request.budget]
        normalised = job.request.protocol is ProtocolName.IN_CONTEXT
        tracker = JobTracker(
            run.store,
            job.table_id,
            outstanding.plan.workloads,
            budget,
            normalised=normalised,
            anew=outstanding.stale,
            since=outstanding.since,
        )

        def counts() -> JobCounts:
            return before.model_copy(
                update={"measured": before.measured + tracker.measured, "failed": before.failed + tracker.failed}
            )

        return JobContext(
            outstanding=outstanding,
            store=run.store,
            workers=workers,
            tracker=tracker,
            budget=budget,
            limits=LiveLimits.now(self._settings, workers),
            reporter=Reporter(run.store, job.id, counts, run.waits.progress),
            seconds=run.seconds,
            stopped=run.stopped,
            host=self._watch_host(),
        )

    def _update(self, job_id: str, run: _Run, **changes: Any) -> None:
        run.waits.progress(run.store.update_job(job_id, **changes))

    def _fail(self, job_id: str, error: Exception, run: _Run) -> None:
        message = f"{type(error).__name__}: {error}"
        if isinstance(error, OpclockError):
            message = f"{error.message}. {error.hint}" if error.hint else error.message
        log.error("job failed", job=job_id, reason=message, exc_info=not isinstance(error, OpclockError))
        with suppress(StorageError, JobConflictError):  # the first error is the one to report
            self._update(job_id, run, state=JobState.FAILED, phase="", eta_s=None, message=message)


def _require_target(info: TableInfo, workers: Workers) -> None:
    """Refuse to mix the numbers of two targets in one table. Raises TableMismatchError."""
    if differences := info.target.differences(workers.description.target):
        raise TableMismatchError(
            f"the job's table belongs to another target: {'; '.join(differences)}",
            hint="Submit the job again: it gets a table of its own, or restore what differs.",
        )
