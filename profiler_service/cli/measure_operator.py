"""`measure` for one operator: timed in context, as an entry of a table is, and printed. Nothing is stored."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from models.spec.errors import ExitCode
from models.spec.measurements import Budget, Status
from models.spec.operators import OperatorSpec
from models.terminal import emit, end_unless, people, warn
from profiler_service.cli.local_jobs import Start, interrupted_by_signals
from profiler_service.cli.measure_network import show_flags, show_times, with_device
from profiler_service.cli.runtime import open_workers
from profiler_service.jobs.context import LiveLimits
from profiler_service.jobs.own_operator import OperatorMeasurement, OwnOperatorJob
from profiler_service.measure.stopping import BUDGETS

if TYPE_CHECKING:
    from models.spec.scale import Scale
    from profiler_service.jobs.workers import Workers
    from profiler_service.settings import Settings


def measure_operator(
    operator: OperatorSpec, settings: Settings, budget: Budget, start: Start, require: str | None, *, as_json: bool
) -> None:
    """Measure one operator and print it.

    Raises:
        typer.Exit: it was interrupted, failed, or is less certain than required.
        OpclockError: as `OwnOperatorJob.run`.
    """
    with interrupted_by_signals() as interrupted:
        start.begin(settings, interrupted.is_set)

        def run(workers: Workers, scale: Scale | None, on_phase: Callable[[str], None]) -> OperatorMeasurement | None:
            job = OwnOperatorJob(
                operator,
                workers=workers,
                budget=BUDGETS[budget],
                reference_ms=None if scale is None else scale.reference_ms,
                unsettled="" if scale is None else scale.unsettled,
                stopped=interrupted.is_set,
                limits=LiveLimits.now(settings, workers),
                on_phase=on_phase,
            )
            return job.run()

        with open_workers(settings) as workers:
            found = with_device(workers, settings, interrupted.is_set, run)
    if found is None:
        people().print("interrupted before there was a value; nothing was saved")
        raise typer.Exit(128 + signal.SIGINT)
    emit(found, as_json=as_json, text=lambda console: _show(console, found))
    if found.measurement.status is not Status.OK:
        raise typer.Exit(int(ExitCode.WORKLOADS_FAILED))
    warn(found.verdict(), of=operator.label())
    if interrupted.is_set():
        raise typer.Exit(128 + signal.SIGINT)
    end_unless(found.verdict(), require)


def _show(console: Console, found: OperatorMeasurement) -> None:
    measured = found.measurement
    console.print(f"{measured.workload.label()}, on {found.target.label()}", markup=False)
    if measured.status is not Status.OK:
        console.print(f"{measured.status.value}: {measured.message}", style="red", markup=False)
        return
    show_times(console, measured, found.reference_ms)
    console.print(f"in context: {measured.base_ms:.4f} ms of prefix and suffix are subtracted")
    if measured.output_error is not None:
        console.print(f"the output is the torch module's, within {measured.output_error:.2g} (relative L2)")
    show_flags(console, measured.flags)
