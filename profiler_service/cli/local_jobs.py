"""Measuring in this process: first the wait for a quiet machine, then one job with a progress bar."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from models.spec.errors import ExitCode
from models.spec.measurements import Measurement
from models.spec.tables import Table
from models.spec.wire import JobCreate, JobPublic, JobState, Rebuild
from models.terminal import job_progress, people
from profiler_service.cli.runtime import open_runner, open_store, open_workers
from profiler_service.conditions import Conditions, look

if TYPE_CHECKING:
    from profiler_service.jobs.reporting import PhaseSeconds
    from profiler_service.settings import Settings

CHECK_EVERY_S = 5.0
"""Between two looks while waiting."""

QUIET_LOOKS = 2
"""In a row, after which a machine that was busy counts as quiet: other work may pause."""

REPORT_EVERY_S = 60.0
"""Between two lines while waiting."""

_SLICE_S = 0.2
"""After so long a signal is heeded."""


class Start:
    """Checks the machine before the jobs of one command and prints warnings, each of them once.

    Args:
        wait_minutes: for how long to wait, all in all, for a machine that is quiet; None for not at all.
        look_around: at the machine; by default `look`.
        clock: seconds that only run forward.
        sleep: for so many seconds.
    """

    def __init__(
        self,
        wait_minutes: float | None = None,
        *,
        look_around: Callable[[], Conditions] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._left_s = (wait_minutes or 0.0) * 60
        self._waits = wait_minutes is not None
        self._look, self._clock, self._sleep = look_around or look, clock, sleep
        self._said: set[str] = set()

    def begin(self, settings: Settings, interrupted: Callable[[], bool]) -> None:
        """Print what will disturb measuring, and wait if requested.

        On a GPU other work on the processor hardly matters: it is reported, but not waited for.

        Raises:
            typer.Exit: it was interrupted.
        """
        from profiler_service.backends.registry import kind_meant

        if kind_meant(settings.backend, settings.device) == "cuda":
            found = self._look()
            if found.busy:
                self._say(f"for information: {found.busy}; this hardly matters on a GPU")
        else:
            if self._waits:
                self._wait(interrupted)
            for warning in () if interrupted() else self._look().warnings(settings.threads):
                self._say(f"warning: {warning}")
        if interrupted():
            self._say("interrupted before anything was measured")
            raise typer.Exit(128 + signal.SIGINT)

    def _wait(self, interrupted: Callable[[], bool]) -> None:
        """Until the machine is quiet, the time is up, or it is interrupted."""
        begun_s = told_s = self._clock()
        found, quiet = self._look(), 0
        if not found.busy:
            return
        self._say(f"waiting up to {_minutes(self._left_s)} for the machine to be quiet: {found.busy}")
        while not interrupted():
            now_s = self._clock()
            if now_s - begun_s >= self._left_s:
                self._say(f"the machine is still busy after {_minutes(self._left_s)}; measuring anyway")
                self._left_s = 0.0
                return
            if found.busy and now_s - told_s >= REPORT_EVERY_S:
                told_s = now_s
                self._say(f"{_minutes(begun_s + self._left_s - now_s)} left to wait: {found.busy}")
            self._pause(interrupted)
            found = self._look()
            quiet = 0 if found.busy else quiet + 1
            if quiet == QUIET_LOOKS:
                self._left_s -= self._clock() - begun_s
                self._say(f"quiet after {self._clock() - begun_s:.0f} s; measuring")
                return

    def _pause(self, interrupted: Callable[[], bool]) -> None:
        until_s = self._clock() + CHECK_EVERY_S
        while self._clock() < until_s and not interrupted():
            self._sleep(_SLICE_S)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            people().print(text, markup=False)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.3g} minutes" if seconds >= 60 else f"{seconds:.0f} s"


@dataclass(frozen=True)
class Measured:
    """A job that has ended.

    Attributes:
        job: as it ended.
        table: all of the table that it added to.
        seconds: where the time went.
        interrupted: whether a signal stopped the job.
        visits: number of visits that the job saved.
    """

    job: JobPublic
    table: Table
    seconds: PhaseSeconds
    interrupted: bool
    visits: int


def measure(request: JobCreate, settings: Settings, title: str = "measuring", *, start: Start | None = None) -> Measured:
    """Run a job in this process. Entries that the table already has are not measured again.

    The first SIGINT or SIGTERM stops it after the present visit.

    Args:
        request: what to measure.
        settings: where and how.
        title: of the progress bar.
        start: checks the machine before, and may wait; by default it only prints warnings.

    Raises:
        typer.Exit: it was interrupted before it began.
        OpclockError: what `admit` or `JobRunner.run` raises.
    """
    from profiler_service.admission import admit

    with ExitStack() as stack:
        store = stack.enter_context(open_store(settings))
        with open_workers(settings) as workers:
            admitted = admit(request, workers.description)
        interrupted = stack.enter_context(interrupted_by_signals())
        (start or Start()).begin(settings, interrupted.is_set)
        table_id = store.ensure_table(admitted.info)
        store.mend_etags(table_id)
        job = store.create_job(admitted.request, table_id)
        runner = open_runner(store, settings)
        show = stack.enter_context(job_progress(title))
        seconds = runner.run(job.id, show, interrupted)
        job = store.job(job.id)
        visits = 0 if job.started_at is None else store.count_visits(job.table_id, since=job.started_at)
        return Measured(job, store.table(job.table_id), seconds, interrupted.is_set(), visits)


def require_done(measured: Measured) -> None:
    """End the command with the job's exit code, unless everything was measured. Finished entries are saved in any case."""
    job = measured.job
    if job.state is JobState.DONE:
        if job.counts.failed:
            raise typer.Exit(int(ExitCode.WORKLOADS_FAILED))
    elif measured.interrupted:
        people().print(f"interrupted; {_saved(measured)}", soft_wrap=True)
        raise typer.Exit(128 + signal.SIGINT)
    else:
        people().print(f"job {job.id} was {job.state} by another process; run the same command again to measure the rest")
        raise typer.Exit(int(ExitCode.BAD_INPUT))


def _saved(measured: Measured) -> str:
    """What an interrupted job has saved, in words. Values come with the last rounds, so visits are named too."""
    request = measured.job.request
    within = " within a day" if request.remeasure or request.rebuild is Rebuild.ALWAYS else ""
    visits = f", {measured.visits} visits: an entry gets its value after its last round" if measured.visits else ""
    return f"measurements so far are saved{visits}; run the same command again{within} to measure the rest"


def failure_document(entry: Measurement) -> dict[str, str]:
    """The `--json` document of a failed workload."""
    return {
        "label": entry.workload.label(),
        "key": entry.key(),
        "status": entry.status.value,
        "message": entry.message,
    }


@contextmanager
def interrupted_by_signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; a second one ends the process."""
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
