"""Jobs one after another: a device can be timed for one at a time."""

from __future__ import annotations

from contextlib import suppress
from threading import Condition, Event, Thread, Timer
from time import monotonic
from types import TracebackType
from typing import Self

import structlog

from models.spec.errors import OpclockError
from models.spec.tables import TableInfo
from models.spec.wire import JobCreate, JobPublic, JobState
from profiler_service.errors import JobConflictError, JobHeldError, JobNotFoundError, StorageError
from profiler_service.jobs.following import Followers, JobEvents
from profiler_service.jobs.owned_jobs import OwnedJobs
from profiler_service.jobs.reporting import WAITING_FOR
from profiler_service.jobs.runner import JobRunner
from profiler_service.jobs.waiting import QueueLimits, WaitingJobs
from profiler_service.storage.job_rows import Owner
from profiler_service.storage.store import Store

log = structlog.get_logger(__name__)

_ABORT_TIMEOUT_S = 5.0
"""For a job to end once its processes were killed."""

_LOOK_AGAIN_S = 1.0
"""After which a job that another process runs is looked at again."""


class JobQueue:
    """One thread that runs jobs, by priority and then in the order in which they came; started and stopped by a `with` block.

    At the start it takes up what an earlier process left unfinished. A job whose state cannot be stored stays first in the
    queue, and is tried again until it can. All methods may be called from any thread, but not from an event loop, since they
    wait for the database; `events` may. The lock here guards what is in memory, and is never held while the database is used.

    Args:
        store: where jobs are stored.
        runner: runs them.
        stop_timeout_s: for the running visit to end when the queue stops; then its processes are killed, and only that
            visit is lost.
        cancel_timeout_s: for the running visit to end when its job is cancelled; then likewise.
        retry_s: after which a job whose state could not be stored is tried again.
        adopt_s: after which an idle queue looks for jobs that another process left.
        limits: of what waits and of what is kept.
        owner: whose jobs are taken up; None for everybody's (`OwnedJobs`).
    """

    def __init__(
        self,
        store: Store,
        runner: JobRunner,
        *,
        stop_timeout_s: float = 10.0,
        cancel_timeout_s: float = 5.0,
        retry_s: float = 10.0,
        adopt_s: float = 60.0,
        limits: QueueLimits | None = None,
        owner: Owner | None = None,
    ) -> None:
        self._owned = OwnedJobs(store, owner)
        self._store, self._runner, self._limits = store, runner, limits or QueueLimits()
        self._adopt_s = adopt_s
        self._stop_timeout_s, self._cancel_timeout_s, self._retry_s = stop_timeout_s, cancel_timeout_s, retry_s
        self._thread = Thread(target=self._work, name="jobs", daemon=True)
        self._changed = Condition()
        self._waiting = WaitingJobs(self._limits)
        self._running_id: str | None = None
        self._held_up: JobPublic | None = None
        self._trouble = ""
        self._cancelled = Event()
        self._to_cancel: set[str] = set()
        self._cutting_off: Timer | None = None
        self._stopping = Event()
        self._leaving = Event()
        self._stop_at_s: float | None = None
        self._followers = Followers(lambda job_id: self.job(job_id))

    @property
    def alive(self) -> bool:
        """Whether the thread is there to run jobs."""
        return self._thread.is_alive()

    @property
    def trouble(self) -> str:
        """Why no job can go on at present; empty where they can."""
        return self._trouble

    def start(self) -> None:
        """Take up unfinished jobs, then wait for others. Raises StorageError."""
        for job in self._owned.unfinished():
            self._waiting.add(job)
        self._thread.start()

    def begin_to_stop(self) -> None:
        """Start no further job, and stop the running one after its present visit. Returns at once, so signals may call it."""
        self._stopping.set()
        self._leaving.set()
        if self._stop_at_s is None:
            self._stop_at_s = monotonic() + self._stop_timeout_s

    def stop(self) -> None:
        """Stop after the running visit. The running job and those that wait stay unfinished, for the next start."""
        self.begin_to_stop()
        with self._changed:
            self._changed.notify_all()
        assert self._stop_at_s is not None
        self._thread.join(max(self._stop_at_s - monotonic(), 0.0))
        if self._thread.is_alive():
            self._runner.abort()
            self._thread.join(_ABORT_TIMEOUT_S)
        if self._thread.is_alive():
            log.warning("the running job does not end; it goes on when the service starts again", job=self._running_id)

    def __enter__(self) -> Self:
        """The queue, started."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop it."""
        self.stop()

    def submit(
        self, request: JobCreate, table: str | TableInfo, *, idempotency_key: str | None = None, submitted_by: str = ""
    ) -> JobPublic:
        """Queue a job; a key that was used for the same request before gives the job it made then.

        Args:
            request: checked before (`profiler_service.admission`).
            table: that the results go to: its id, or its identity, with which it is made unless it exists or no job is added.
            idempotency_key: chosen by who asks.
            submitted_by: name of the token of who asks; empty without one.

        Raises:
            QueueFullError: too much waits already.
            JobConflictError: the key was used for another request.
            StorageError: the job cannot be stored.
        """

        def require_room() -> None:
            with self._changed:
                self._waiting.require_room(request, submitted_by)

        job = self._store.create_job(
            request, table, idempotency_key=idempotency_key, before_adding=require_room, submitted_by=submitted_by
        )
        if job.state is JobState.QUEUED:
            self._line_up(job)
        return job

    def job(self, job_id: str) -> JobPublic:
        """A job as it stands; while nothing can be stored, with what it waits for.

        Raises:
            JobNotFoundError: no such job.
            StorageError: it cannot be read.
        """
        held_up = self._held_up
        return held_up if held_up is not None and held_up.id == job_id else self._store.job(job_id)

    def cancel(self, job_id: str) -> JobPublic:
        """End a job; what it has measured stays. One that is running here ends after its present visit.

        A visit that takes longer than `cancel_timeout_s` is cut off, and lost.

        Raises:
            JobNotFoundError: no such job.
            JobConflictError: it has ended already.
            StorageError: it is not running here, and that it has ended cannot be stored.
        """
        job = self.job(job_id)
        if job.state.final:
            raise JobConflictError(f"job {job_id} is {job.state} already", hint="Only unfinished jobs can be cancelled.")
        if self._stop_running(job_id, cancel=True):
            return job
        job = self._store.update_job(job_id, state=JobState.CANCELLED, phase="")
        self._leave_line(job)
        self._stop_running(job_id, cancel=True)  # it may have begun meanwhile
        return job

    def pause(self, job_id: str) -> JobPublic:
        """Stop a job until it is resumed; what it has measured stays. One that runs here stops as `cancel` says.

        Raises:
            JobNotFoundError: no such job.
            JobConflictError: it has ended, or is paused already.
            StorageError: that cannot be stored.
        """
        job = self._store.update_job(job_id, state=JobState.PAUSED, phase="", eta_s=None)
        self._leave_line(job)
        self._stop_running(job_id, cancel=False)
        return job

    def resume(self, job_id: str) -> JobPublic:
        """Let a paused job wait for its turn again.

        Raises:
            JobNotFoundError: no such job.
            JobConflictError: it is not paused.
            StorageError: that cannot be stored.
        """
        job = self.job(job_id)
        if job.state is not JobState.PAUSED:
            raise JobConflictError(f"job {job_id} is {job.state}, not paused", hint="Only paused jobs can be resumed.")
        job = self._store.update_job(job_id, state=JobState.QUEUED)
        if self._owned.include(job_id):
            self._line_up(job)
        self._publish(job)
        return job

    def prioritise(self, job_id: str, priority: int) -> JobPublic:
        """Give a job another priority: if it waits, it waits behind the others of that one. Raises as `pause` does."""
        job = self._store.set_priority(job_id, priority)
        with self._changed:
            if job_id in self._waiting:
                self._waiting.remove(job_id)
                self._waiting.add(job)
        self._publish(job)
        return job

    async def events(self, job_id: str) -> JobEvents:
        """Follow a job, from a running event loop, until it ends. Raises JobNotFoundError, StorageError."""
        return await self._followers.events(job_id)

    def _line_up(self, job: JobPublic) -> None:
        with self._changed:
            if job.id != self._running_id or self._leaving.is_set():
                self._waiting.add(job)
                self._changed.notify_all()

    def _leave_line(self, job: JobPublic) -> None:
        with self._changed:
            self._waiting.remove(job.id)
        self._publish(job)

    def _stop_running(self, job_id: str, *, cancel: bool) -> bool:
        """Whether that job is running here, and hence told to end, or to be left as it is."""
        with self._changed:
            if job_id != self._running_id:
                return False
            if cancel:
                self._cancelled.set()
                self._to_cancel.add(job_id)
            else:
                self._leaving.set()
            if self._cutting_off is None:
                self._cutting_off = Timer(self._cancel_timeout_s, self._runner.abort, (job_id,))
                self._cutting_off.daemon = True
                self._cutting_off.start()
        return True

    def _work(self) -> None:
        while (job_id := self._take()) is not None:
            try:
                self._runner.run(job_id, self._publish, self._cancelled, self._leaving)
            except JobHeldError as error:
                log.info("job is run by another process", job=job_id, reason=error.message)
                self._put_off(job_id)
                continue
            except OpclockError as error:
                log.error("job ended with an error", job=job_id, error=error.message, hint=error.hint)
            except Exception:
                log.exception("job ended with an unexpected error", job=job_id)
            self._settle(job_id)

    def _take(self) -> str | None:
        """The next job's id, once there is one; None when the queue stops."""
        while not self._wait():
            self._adopt()
        with self._changed:
            if self._stopping.is_set():
                return None
            self._running_id = self._waiting.take()
            self._leaving = Event()
            if self._stopping.is_set():  # `begin_to_stop`, which a signal may call, takes no lock
                self._leaving.set()
            if self._running_id in self._to_cancel:  # that it was cancelled could not be stored yet
                self._cancelled.set()
            else:
                self._cancelled.clear()
            return self._running_id

    def _wait(self) -> bool:
        """Whether there is something to do, within a minute."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: self._waiting or self._stopping.is_set(), self._adopt_s))

    def _adopt(self) -> None:
        """Take up jobs that another process has left."""
        left = self._owned.left()
        with self._changed:
            for job in left:
                if job.id not in self._waiting:
                    log.info("taking up a job that another process left", job=job.id)
                    self._waiting.add(job)

    def _put_off(self, job_id: str) -> None:
        """Let the other jobs go first."""
        with self._changed:
            self._running_id = None
            self._waiting.put_last(job_id)
        self._stopping.wait(min(self._retry_s, _LOOK_AGAIN_S))

    def _settle(self, job_id: str) -> None:
        """Put a job that has not ended back to the front, after a pause; of those that have, forget the oldest."""
        problem = self._problem_of(job_id)
        with self._changed:
            self._running_id = None
            if self._cutting_off is not None:
                self._cutting_off.cancel()
                self._cutting_off = None
            if not problem:
                self._held_up, self._trouble = None, ""
                self._to_cancel.discard(job_id)
            elif not self._stopping.is_set():
                self._waiting.put_first(job_id)
                self._trouble = problem
        if problem:
            self._stopping.wait(self._retry_s)
            return
        with suppress(StorageError):
            self._store.forget_jobs(keep=self._limits.kept_jobs, keep_bytes=self._limits.kept_bytes)

    def _problem_of(self, job_id: str) -> str:
        """Why a job that was run has neither ended nor been paused; empty if it has."""
        try:
            job = self._store.job(job_id)
        except JobNotFoundError:
            return ""
        except StorageError as error:
            return error.message
        with self._changed:
            waits = job_id in self._waiting  # it was paused, and resumed at once
        if job.state.final or job.state is JobState.PAUSED or waits:
            return ""
        return self._trouble or f"job {job_id} has not ended; the log says why"

    def _publish(self, job: JobPublic) -> None:
        with self._changed:
            held_up = job.phase.startswith(f"{WAITING_FOR}database")
            if held_up or job.id == self._running_id:
                self._held_up = job if held_up else None
                self._trouble = f"job {job.id} is {job.phase}" if held_up else ""
        self._followers.tell(job)
