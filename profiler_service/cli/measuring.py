"""Measuring in this process, for every command that does: one job from its request to its end, with a progress bar."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from models.spec.errors import ExitCode
from models.spec.measurements import Measurement
from models.spec.tables import Table
from models.spec.wire import JobCreate, JobPublic, JobState, Rebuild
from models.terminal import job_progress, people
from profiler_service.cli.quiet import Start
from profiler_service.cli.runtime import open_runner, open_store, open_workers

if TYPE_CHECKING:
    from profiler_service.jobs.reporting import PhaseSeconds
    from profiler_service.settings import Settings


@dataclass(frozen=True)
class Measured:
    """A job that has ended.

    Attributes:
        job: as it ended.
        table: all of the table that it added to.
        seconds: where the time went.
        interrupted: whether this process was told to stop.
        visits: of engines, that it has kept.
    """

    job: JobPublic
    table: Table
    seconds: PhaseSeconds
    interrupted: bool
    visits: int


def measure(request: JobCreate, settings: Settings, title: str = "measuring", *, start: Start | None = None) -> Measured:
    """Do what the request asks; what its table holds already is not measured again.

    The first SIGINT or SIGTERM stops it after the present visit.

    Args:
        request: what to measure.
        settings: where and how.
        title: of the progress bar.
        start: looks at the machine before, and waits for it; by default it only says what it finds.

    Raises:
        typer.Exit: it was interrupted before it began.
        OpclockError: what `admit` or `JobRunner.run` raises.
    """
    from profiler_service.admission import admit

    with ExitStack() as stack:
        store = stack.enter_context(open_store(settings))
        with open_workers(settings) as workers:
            admitted = admit(request, workers.description)
        interrupted = stack.enter_context(_interrupted_by_signals())
        (start or Start()).begin(settings, interrupted.is_set)
        job = store.create_job(admitted.request, store.ensure_table(admitted.info))
        runner = open_runner(store, settings)
        show = stack.enter_context(job_progress(title))
        seconds = runner.run(job.id, show, interrupted)
        job = store.job(job.id)
        visits = 0 if job.started_at is None else store.count_visits(job.table_id, since=job.started_at)
        return Measured(job, store.table(job.table_id), seconds, interrupted.is_set(), visits)


def require_done(measured: Measured) -> None:
    """End the command with the exit code of how its job ended, unless all of it was measured; what was is kept."""
    job = measured.job
    if job.state is JobState.DONE:
        if job.counts.failed:
            raise typer.Exit(int(ExitCode.WORKLOADS_FAILED))
    elif measured.interrupted:
        people().print(f"interrupted; {_kept(measured)}", soft_wrap=True)
        raise typer.Exit(128 + signal.SIGINT)
    else:
        people().print(f"job {job.id} was {job.state} by somebody else; the same command goes on with the rest")
        raise typer.Exit(int(ExitCode.BAD_INPUT))


def _kept(measured: Measured) -> str:
    """What an interrupted job leaves, for people. Its values alone would look like nothing: most come with the last rounds."""
    request = measured.job.request
    within = " within a day" if request.remeasure or request.rebuild is Rebuild.ALWAYS else ""
    visits = f", {measured.visits} visits: a value comes when all its rounds are done" if measured.visits else ""
    return f"what was measured is kept{visits}; the same command goes on with the rest{within}"


def failure_document(entry: Measurement) -> dict[str, str]:
    """What `--json` says of a workload that failed."""
    return {
        "label": entry.workload.label(),
        "key": entry.key(),
        "status": entry.status.value,
        "message": entry.message,
    }


@contextmanager
def _interrupted_by_signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; a second one ends the process as usual."""
    event = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def note(number: int, frame: object) -> None:
        event.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in numbers:
        signal.signal(number, note)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
