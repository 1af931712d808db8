"""Jobs one after another: a device can be timed for one at a time."""

from __future__ import annotations

from collections import deque
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Self
from weakref import WeakSet

import structlog

from models.spec.errors import OpclockError
from models.spec.wire import JobCreate, JobPublic, JobState
from profiler_service.errors import JobConflictError
from profiler_service.jobs.reporting import JobEvents
from profiler_service.jobs.runner import JobRunner
from profiler_service.storage.store import Store

log = structlog.get_logger(__name__)


class JobQueue:
    """One thread that runs jobs in the order in which they came; started and stopped by a `with` block.

    At the start it takes up what an earlier process left unfinished. All methods may be called from any thread.

    Args:
        store: where jobs are stored.
        runner: runs them.
        stop_timeout_s: for the running visit to end when the queue stops; then its processes are killed, and only that
            visit is lost.
    """

    def __init__(self, store: Store, runner: JobRunner, *, stop_timeout_s: float = 10.0) -> None:
        self._store, self._runner, self._stop_timeout_s = store, runner, stop_timeout_s
        self._thread = Thread(target=self._work, name="jobs", daemon=True)
        self._changed = Condition()
        self._waiting: deque[str] = deque()
        self._running_id: str | None = None
        self._cancelled = Event()
        self._stopping = Event()
        self._followers: WeakSet[JobEvents] = WeakSet()

    @property
    def alive(self) -> bool:
        """Whether the thread is there to run jobs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Take up unfinished jobs, then wait for others. Raises StorageError."""
        self._waiting.extend(job.id for job in self._store.unfinished_jobs())
        self._thread.start()

    def stop(self) -> None:
        """Stop after the running visit. The running job and those that wait stay unfinished, for the next start."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(self._stop_timeout_s)
        if self._thread.is_alive():
            self._runner.abort()
            self._thread.join()

    def __enter__(self) -> Self:
        """The queue, started."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop it."""
        self.stop()

    def submit(self, request: JobCreate, table_id: str, *, idempotency_key: str | None = None) -> JobPublic:
        """Queue a job; a key that was used for the same request before gives the job it made then.

        Args:
            request: checked before (`profiler_service.admission`).
            table_id: of the table that the results go to.
            idempotency_key: chosen by who asks.

        Raises:
            JobConflictError: the key was used for another request.
            StorageError: the job cannot be stored.
        """
        with self._changed:
            job = self._store.create_job(request, table_id, idempotency_key=idempotency_key)
            if job.state is JobState.QUEUED and job.id not in (*self._waiting, self._running_id):
                self._waiting.append(job.id)
                self._changed.notify_all()
        return job

    def cancel(self, job_id: str) -> JobPublic:
        """End a job; what it has measured stays. One that is running here ends after its present visit.

        Raises:
            JobNotFoundError: no such job.
            JobConflictError: it has ended already.
        """
        with self._changed:
            job = self._store.job(job_id)
            if job.state.final:
                raise JobConflictError(f"job {job_id} is {job.state} already", hint="Only unfinished jobs can be cancelled.")
            if job_id == self._running_id:
                self._cancelled.set()
                return job
            job = self._store.update_job(job_id, state=JobState.CANCELLED)
            if job_id in self._waiting:
                self._waiting.remove(job_id)
        self._publish(job)
        return job

    def events(self, job_id: str) -> JobEvents:
        """Follow a job, from a running event loop, until it ends. Raises JobNotFoundError."""
        with self._changed:
            followed = JobEvents(self._store.job(job_id), lambda: self._store.job(job_id))
            self._followers.add(followed)
        return followed

    def _work(self) -> None:
        while (job_id := self._take()) is not None:
            try:
                self._runner.run(job_id, self._publish, self._cancelled, self._stopping)
            except OpclockError as error:
                log.error("job ended with an error", job=job_id, error=error.message, hint=error.hint)
            except Exception:
                log.exception("job ended with an unexpected error", job=job_id)

    def _take(self) -> str | None:
        """The next job's id, once there is one; None when the queue stops."""
        with self._changed:
            self._running_id = None
            self._changed.wait_for(lambda: self._waiting or self._stopping.is_set())
            if self._stopping.is_set():
                return None
            self._cancelled.clear()
            self._running_id = self._waiting.popleft()
            return self._running_id

    def _publish(self, job: JobPublic) -> None:
        with self._changed:
            followers = [events for events in self._followers if events.job_id == job.id]
        for events in followers:
            events.put(job)
