"""A store in a temporary directory, workers that are none, and jobs on small spaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from models.spec.architectures import SpaceSpec
from models.spec.measurements import Budget
from models.spec.wire import JobCreate, JobPublic
from profiler_service.admission import admit
from profiler_service.jobs.host import HostWatch
from profiler_service.jobs.reporting import PhaseSeconds
from profiler_service.jobs.runner import JobRunner
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from tests.support.fake_host import FakeHost
from tests.support.fake_workers import DESCRIPTION, FakeWorkers

SPACE = SpaceSpec(name="fasterseg", input_size=(64, 64), parameters={"layers": 4, "widths": (8,)})
"""39 operators."""


class Bench:
    """What a test of jobs needs: submit one, run it, look at the results."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.workers = FakeWorkers()
        self.host = FakeHost()
        self.states: list[JobPublic] = []
        self.quiet = True
        self._directory = directory
        self.configure()

    def configure(self, **settings: Any) -> None:
        """Run the jobs to come with such settings."""
        chosen = Settings.load(database=self.store.location, **({"plain_check": False} | settings))
        self.runner = JobRunner(
            self.store,
            chosen,
            self._open,
            lock_directory=self._directory,
            watch_host=lambda: HostWatch(self.host.read),
            is_quiet=lambda: self.quiet,
            retry_s=0.01,
        )

    def _open(self) -> Any:
        return self.workers

    def submit(self, **changes: Any) -> JobPublic:
        request = JobCreate.parse({"space": SPACE, "budget": Budget.QUICK} | changes)
        admitted = admit(request, DESCRIPTION)
        return self.store.create_job(admitted.request, self.store.ensure_table(admitted.info))

    def run(
        self,
        job: JobPublic,
        *,
        on_progress: Callable[[JobPublic], None] = lambda job: None,
        cancelled: Event | None = None,
        interrupted: Event | None = None,
    ) -> PhaseSeconds:
        def note(state: JobPublic) -> None:
            self.states.append(state)
            on_progress(state)

        return self.runner.run(job.id, note, cancelled or Event(), interrupted)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "tables.sqlite") as store:
        yield store


@pytest.fixture
def bench(store: Store, tmp_path: Path) -> Bench:
    return Bench(store, tmp_path)
