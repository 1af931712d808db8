"""Which unfinished jobs of a database are for this process to take up.

A database on a server may have jobs of several boxes, each with a target of its own: they would fail here.
"""

from __future__ import annotations

import structlog

from models.spec.wire import JobPublic
from profiler_service.errors import StorageError
from profiler_service.jobs.process_lock import is_run
from profiler_service.storage.job_rows import Owner
from profiler_service.storage.store import Store

log = structlog.get_logger(__name__)


class OwnedJobs:
    """The jobs of one owner.

    Args:
        store: where jobs are stored.
        owner: whose; None for everybody's, as in a file.
    """

    def __init__(self, store: Store, owner: Owner | None) -> None:
        self._store, self._owner = store, owner

    def unfinished(self) -> list[JobPublic]:
        """Those that have not ended and are not paused, in their order. Raises StorageError."""
        return self._store.unfinished_jobs(self._owner)

    def include(self, job_id: str) -> bool:
        """Whether that job is one of them. Raises StorageError."""
        return self._owner is None or self._store.job_belongs(job_id, self._owner)

    def left(self) -> list[JobPublic]:
        """Those that another process ran and has left: without whom they would be under way for ever. None where that cannot be
        known now.
        """
        try:
            active = [job for job in self.unfinished() if job.state.active]
            return [job for job in active if not is_run(self._store.location, job.id)]
        except (StorageError, OSError) as error:
            log.warning("cannot look for jobs that were left", reason=str(error))
            return []
