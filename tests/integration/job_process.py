"""Runs one job in a process of its own, which a test may kill: `python -m tests.integration.job_process DATABASE JOB`."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Event

from profiler_service.cli.runtime import open_workers
from profiler_service.jobs.runner import JobRunner
from profiler_service.settings import Settings
from profiler_service.storage.store import Store


def main(database: Path, job_id: str) -> None:
    settings = Settings.load(database=database)
    with Store.open(database) as store:
        runner = JobRunner(store, settings, lambda: open_workers(settings), lock_directory=database.parent)
        runner.run(job_id, lambda job: None, Event())


if __name__ == "__main__":  # workers are spawned, and import this module again
    main(Path(sys.argv[1]), sys.argv[2])
