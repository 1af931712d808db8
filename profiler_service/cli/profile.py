"""`profile`: measure a search space, or its whole grid, in this process; no server needed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spaces.registry import create_space
from models.spec.architectures import Parameter, SpaceSpec
from models.spec.errors import ExitCode, InvalidSpecError
from models.spec.measurements import Budget, Flag, Measurement, ProtocolName, Status
from models.spec.tables import Table
from models.spec.wire import JobCreate, JobPublic, JobState
from models.terminal import Json, emit, job_progress, parse_size, people
from profiler_service.admission import admit
from profiler_service.cli.options import Backend, Core, Database, Rebuild, Threads
from profiler_service.cli.runtime import open_runner, open_store, open_workers
from profiler_service.settings import Settings

FAILURES_SHOWN = 10


def profile(
    space: Annotated[str, typer.Option(metavar="NAME", help="Search space whose operators are measured.")],
    input_size: Annotated[str, typer.Option(metavar="HxW", help="Input of its networks, 128x256.")],
    backend: Backend = None,
    database: Database = None,
    budget: Annotated[Budget, typer.Option(help="How much time to spend for how much certainty.")] = Budget.NORMAL,
    protocol: Annotated[ProtocolName, typer.Option(help="How times are taken.")] = ProtocolName.IN_CONTEXT,
    classes: Annotated[int, typer.Option(help="Classes that the networks tell apart.")] = 19,
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
    batch: Annotated[int, typer.Option(help="Images per run.")] = 1,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=N,…", help="A parameter of the space, layers=8; repeatable.")
    ] = None,
    threads: Threads = None,
    core: Core = None,
    remeasure: Annotated[bool, typer.Option(help="Measure again what the table holds already.")] = False,
    rebuild: Rebuild = None,
    json: Json = False,
) -> None:
    """Measure every operator of a search space on this machine. What the table holds already is not measured again."""
    settings = Settings.load(backend=backend, database=database, threads=threads, core=core)
    spec = SpaceSpec.parse(
        {
            "name": space,
            "input_size": parse_size(input_size),
            "classes": classes,
            "batch": batch,
            "dtype": dtype,
            "parameters": dict(map(_parameter, parameter or ())),
        }
    )
    create_space(spec)  # a space that cannot be is refused before any process is started
    request = JobCreate(space=spec, protocol=protocol, budget=budget, remeasure=remeasure, rebuild=rebuild)
    with ExitStack() as stack:
        store = stack.enter_context(open_store(settings))
        with open_workers(settings) as workers:
            admitted = admit(request, workers.description)
        job = store.create_job(admitted.request, store.ensure_table(admitted.info))
        runner = open_runner(store, settings)
        show = stack.enter_context(job_progress("measuring"))
        interrupted = stack.enter_context(_interrupted_by_signals())
        seconds = runner.run(job.id, show, interrupted)
        job = store.job(job.id)
        table = store.table(job.table_id)
    failures = [entry for entry in table.entries if entry.status is not Status.OK]
    spread = table.info.rebuild_spread
    document = {
        "job": job.model_dump(mode="json"),
        "table_id": job.table_id,
        "counts": job.counts.model_dump(),
        "database": str(settings.database),
        "seconds": asdict(seconds),
        "throttled": _slow(table.entries),
        "rebuild_spread": None if spread is None else spread.model_dump(mode="json") | spread.fractions(),
        "failures": [_failure(entry) for entry in failures],
    }
    emit(document, as_json=json, text=lambda console: _summarise(console, job, table, settings))
    if job.state is JobState.DONE:
        if job.counts.failed:
            raise typer.Exit(int(ExitCode.WORKLOADS_FAILED))
    elif interrupted.is_set():
        people().print("interrupted; what was measured is kept, and the same command goes on with the rest")
        raise typer.Exit(128 + signal.SIGINT)
    else:
        people().print(f"job {job.id} was {job.state} by somebody else; the same command goes on with the rest")
        raise typer.Exit(int(ExitCode.BAD_INPUT))


def _parameter(text: str) -> tuple[str, Parameter]:
    """`layers=8`, `widths=4,8`, or `widths=4,` for a list of one, by name and value. Raises InvalidSpecError."""
    name, _, value = text.partition("=")
    try:
        return name, tuple(int(part) for part in value.removesuffix(",").split(",")) if "," in value else int(value)
    except ValueError as error:
        raise InvalidSpecError(
            f"parameter {text!r} is not NAME=NUMBER",
            hint="Write a number as layers=8, several as widths=4,8,12, and a list of one as widths=4, with its comma.",
        ) from error


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


def _failure(entry: Measurement) -> dict[str, str]:
    return {
        "label": entry.workload.label(),
        "key": entry.key(),
        "status": entry.status.value,
        "message": entry.message,
    }


def _slow(entries: Sequence[Measurement]) -> dict[str, int]:
    """How often the device's clock was held down or far below the usual, over the table."""
    return {
        "samples_set_aside": sum(entry.samples_set_aside or 0 for entry in entries),
        "entries_with_samples_set_aside": sum(bool(entry.samples_set_aside) for entry in entries),
        "entries_flagged": sum(Flag.THROTTLED in entry.flags for entry in entries),
    }


def _summarise(console: Console, job: JobPublic, table: Table, settings: Settings) -> None:
    counts, entries = job.counts, table.entries
    measured = [entry for entry in entries if entry.value_ms is not None]
    grid = Grid(show_header=False, box=None, pad_edge=False)
    grid.add_row("table", job.table_id)
    grid.add_row("this job", f"{counts.measured} measured, {counts.reused} reused, {counts.failed} failed of {counts.total}")
    if measured:
        values = sorted(entry.value_ms or 0.0 for entry in measured)
        unsure = sum(Flag.UNCONVERGED in entry.flags for entry in measured)
        grid.add_row("fastest to slowest", f"{values[0]:.4f} to {values[-1]:.4f} ms, median {values[len(values) // 2]:.4f} ms")
        grid.add_row("less certain than wished", f"{unsure} of {len(measured)}")
    slow = _slow(entries)
    if any(slow.values()):
        grid.add_row(
            "on a slow device",
            f"{slow['samples_set_aside']} samples of {slow['entries_with_samples_set_aside']} entries set aside; "
            f"{slow['entries_flagged']} entries flagged, since there was nothing else",
        )
    if table.info.rebuild_spread is not None:
        grid.add_row("built anew", table.info.rebuild_spread.sentence())
    console.print(grid)
    failures = [entry for entry in entries if entry.status is not Status.OK]
    for entry in failures[:FAILURES_SHOWN]:
        console.print(f"{entry.status.value}: {entry.workload.label()}: {entry.message}", style="red", markup=False)
    if len(failures) > FAILURES_SHOWN:
        console.print(f"… and {len(failures) - FAILURES_SHOWN} more; --json lists them all")
    if job.state is JobState.DONE:
        console.print(f"next: profiler-service serve --database {settings.database}", style="dim", soft_wrap=True)
