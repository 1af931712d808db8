"""The jobs of a database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from models.spec.tables import TableInfo
from models.spec.wire import JobCreate, JobPublic, JobState
from profiler_service.storage import job_rows, table_rows
from profiler_service.storage.database import Database
from profiler_service.storage.job_rows import JobProgress, Owner


class JobStore:
    """What a `Store` keeps of jobs. Every method is one transaction; what is said there of all methods holds here too.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_job(
        self,
        request: JobCreate,
        table: str | TableInfo,
        *,
        idempotency_key: str | None = None,
        before_adding: Callable[[], None] = lambda: None,
        submitted_by: str = "",
        box: str | None = None,
    ) -> JobPublic:
        """A queued job, or, where the key was used for the same request before, the job that it made then.

        Args:
            request: what to measure.
            table: that the results go to: its id, or its identity, with which it is made beside a new job unless it exists.
            idempotency_key: chosen by who asks.
            before_adding: called before a new job is added; what it raises is raised here, and nothing is added.
            submitted_by: name of who asks; may be empty.
            box: the host that the job belongs to; None for this one.

        Raises:
            JobConflictError: the key was used for another request.
            TableNotFoundError: no such table.
        """
        return self._database.write(
            lambda session: job_rows.create(session, request, table, idempotency_key, before_adding, submitted_by, box)
        )

    def job(self, job_id: str) -> JobPublic:
        """The job of that id. Raises JobNotFoundError."""
        return self._database.read(lambda session: job_rows.get(session, job_id))

    def jobs(self, limit: int = 100) -> list[JobPublic]:
        """The newest jobs, newest first."""
        return self._database.read(lambda session: job_rows.latest(session, limit))

    def progress(self, limit: int) -> tuple[list[JobProgress], int]:
        """How far that many jobs are, unfinished ones first, and how many tables there are; cheap, since no request is read."""
        return self._database.read(lambda session: (job_rows.progress(session, limit), table_rows.number(session)))

    def job_counts(self) -> dict[JobState, int]:
        """How many jobs are in each state that any is in; cheap, since no request is read."""
        return self._database.read(job_rows.counts)

    def forget_jobs(self, *, keep: int, keep_bytes: int) -> int:
        """Delete ended jobs beyond the newest ones; what they measured stays.

        Those of the last day stay as well, since later jobs look at them (`attempted_since`).

        Args:
            keep: so many ended jobs.
            keep_bytes: of the requests of those.

        Returns:
            How many were deleted.
        """
        return self._database.write(lambda session: job_rows.forget(session, keep, keep_bytes))

    def unfinished_jobs(self, owner: Owner | None = None) -> list[JobPublic]:
        """Jobs that have not ended and are not paused: what a service that starts has to take up, in that order.

        Those of high priority come first, of equals the oldest. Where there is an owner, only those of the owner.
        """
        return self._database.read(lambda session: job_rows.unfinished(session, owner))

    def job_belongs(self, job_id: str, owner: Owner) -> bool:
        """Whether that job is for the owner to run."""
        return self._database.read(lambda session: job_rows.belongs(session, job_id, owner))

    def attempted_since(self, job_id: str) -> datetime:
        """From when on results count as what a job asks for, where it asks for something anew.

        That is when it was made. Where the same was asked for right before and did not come to its end, it is when the first
        of those attempts started; jobs that never started are no attempts, and any job on the same table that is done ends the
        line. Where another job was measuring the same table anew when this one was made, it is when that one started, so that
        both share what they measure. It is at most a day before this job was made.

        Raises:
            JobNotFoundError: no such job.
        """
        return self._database.read(lambda session: job_rows.attempted_since(session, job_id))

    def update_job(self, job_id: str, **changes: object) -> JobPublic:
        """Change some of `state, counts, phase, fraction, eta_s, message, started_at, finished_at, verdict`.

        A job that begins to build gets its `started_at` from the clock unless one is given, one that ends its `finished_at`.

        Raises:
            JobNotFoundError: no such job.
            JobConflictError: the job is final or paused, so that nothing about it changes; or that state cannot follow its
                present one (`JobState.may_become`).
            InvalidSpecError: a value is out of bounds.
        """
        return self._database.write(lambda session: job_rows.update(session, job_id, changes))

    def set_priority(self, job_id: str, priority: int) -> JobPublic:
        """Change when a job's turn comes, -9 to 9. Raises JobNotFoundError, JobConflictError for a job that has ended."""
        return self._database.write(lambda session: job_rows.set_priority(session, job_id, priority))

    def begin_attempt(self, job_id: str) -> int:
        """Number a new attempt at a job: from now on nothing is written for an earlier one (`attempt`).

        Raises:
            JobNotFoundError: no such job.
            JobConflictError: it is final or paused.
        """
        return self._database.write(lambda session: job_rows.begin_attempt(session, job_id))
