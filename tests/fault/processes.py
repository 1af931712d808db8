"""Processes that run jobs and die, as far as a database can tell: each has connections, locks and workers of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, cast

from sqlalchemy.orm import Session

from models.spec.measurements import Measurement
from models.spec.wire import JobPublic
from profiler_service.jobs.host import HostWatch
from profiler_service.jobs.runner import JobRunner
from profiler_service.settings import Settings
from profiler_service.storage.database import Database, Patience
from profiler_service.storage.location import Location
from profiler_service.storage.opening import open_database
from profiler_service.storage.store import Store
from tests.fault.checker import Event as Logged
from tests.support.fake_host import FakeHost
from tests.support.fake_workers import FakeWorkers

AtWrite = Callable[[int, bool], None]
"""Called before and after each write with its number, and whether it was committed."""


class Died(BaseException):
    """The process is gone: no handler of the program sees it, and the system frees its locks."""


class _Watched:
    """A database that tells of its writes."""

    def __init__(self, database: Database, at_write: AtWrite, count: list[int]) -> None:
        self._database, self._at_write, self._count = database, at_write, count
        self.location, self.read, self.check, self.close = database.location, database.read, database.check, database.close

    def patient(self, patience: Patience, guard: Callable[[Session], None] | None = None) -> _Watched:
        return _Watched(self._database.patient(patience, guard), self._at_write, self._count)

    def guarded(self, guard: Callable[[Session], None]) -> _Watched:
        return _Watched(self._database.guarded(guard), self._at_write, self._count)

    def write(self, function: Callable[[Session], Any]) -> Any:
        number, self._count[0] = self._count[0], self._count[0] + 1
        self._at_write(number, False)
        result = self._database.write(function)
        self._at_write(number, True)
        return result


class WatchedStore(Store):
    """A store that logs what it has acknowledged."""

    def __init__(self, database: Database, log: list[Logged], name: str) -> None:
        super().__init__(database)
        self._log, self._name = log, name

    def patient(self, patience: Patience, guard: Callable[[Session], None] | None = None) -> Store:
        return WatchedStore(self._database.patient(patience, guard), self._log, self._name)

    def attempt(self, job_id: str, number: int) -> Store:
        return WatchedStore(super().attempt(job_id, number)._database, self._log, self._name)

    def save_measurement(self, table_id: str, measurement: Measurement, *, reference_ms: float | None = None) -> bool:
        said = {"by": self._name, "table": table_id, "key": measurement.key(), "status": measurement.status.value}
        self._log.append({"event": "saving", **said})
        kept = super().save_measurement(table_id, measurement, reference_ms=reference_ms)
        if kept:
            self._log.append({"event": "saved", **said})
        return kept

    def update_job(self, job_id: str, **changes: object) -> JobPublic:
        job = super().update_job(job_id, **changes)
        if job.state.final:
            self._log.append({"event": "ended", "job": job_id, "state": job.state.value})
        return job


class Process:
    """One that runs jobs, until it dies.

    Args:
        location: of the database.
        folder: for the locks of its own device.
        log: gets what it has done.
        name: of the process.
        workers: measure for it.
        at_write: may raise `Died`, or do what others do meanwhile.
    """

    def __init__(
        self,
        location: Location,
        folder: Path,
        log: list[Logged],
        name: str,
        *,
        workers: FakeWorkers | None = None,
        at_write: AtWrite = lambda number, committed: None,
        **settings: Any,
    ) -> None:
        self.name = name
        locks = folder / name
        locks.mkdir(exist_ok=True)
        database = cast("Database", _Watched(open_database(location, busy_timeout_s=20.0), at_write, [0]))
        self.store = WatchedStore(database, log, name)
        chosen = workers or FakeWorkers()
        self.runner = JobRunner(
            self.store,
            Settings.load(database=location, plain_check=False, **settings),
            lambda: cast("Any", chosen),
            lock_directory=locks,
            watch_host=lambda: HostWatch(FakeHost().read),
            retry_s=0.01,
        )

    def run(self, job_id: str, on_progress: Callable[[JobPublic], None] = lambda job: None) -> None:
        """Run the job to its end, or until the process dies. Its connections are closed then, as the system would."""
        try:
            self.runner.run(job_id, on_progress, Event())
        finally:
            self.store.close()
