"""`profile`: measure a search space, or part of it, in this process, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spaces.base import SearchSpace
from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.errors import InvalidSpecError
from models.spec.measurements import Budget, Flag, Measurement, ProtocolName, Status
from models.spec.operators import OperatorSpec
from models.spec.tables import Table
from models.spec.verdicts import TrustLevel, Verdict, table_verdict
from models.spec.wire import JobCreate, JobPublic, JobState, Rebuild
from models.terminal import Json, Require, emit, end_unless, parse_parameter, parse_size
from profiler_service import selection
from profiler_service.cli.arguments import (
    Backend,
    BudgetOption,
    Core,
    Database,
    Priority,
    RebuildOption,
    Remeasure,
    RetryFailed,
    Threads,
    WaitForQuiet,
)
from profiler_service.cli.local_jobs import Start, failure_document, measure, require_done
from profiler_service.cli.runtime import measuring_settings

if TYPE_CHECKING:
    from profiler_service.settings import Settings

FAILURES_SHOWN = 10


def profile(
    space: Annotated[str, typer.Option(metavar="NAME", help="Search space to measure.")],
    input_size: Annotated[str, typer.Option(metavar="HxW", help="Height and width of the input images, such as 128x256.")],
    backend: Backend = None,
    database: Database = None,
    budget: BudgetOption = Budget.NORMAL,
    protocol: Annotated[ProtocolName, typer.Option(help="How times are taken.")] = ProtocolName.IN_CONTEXT,
    classes: Annotated[int, typer.Option(help="Number of classes that the networks predict.")] = 19,
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
    batch: Annotated[int, typer.Option(help="Images per run.")] = 1,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=N,…", help="Parameter of the space, such as layers=8. Repeatable.")
    ] = None,
    threads: Threads = None,
    core: Core = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Measure only N random operators, chosen by --seed.", show_default="all"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample. The same seed chooses the same operators.")] = 0,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Measure only part I of N equal parts, such as 2/4. All parts together are the grid.",
            show_default="all",
        ),
    ] = None,
    remeasure: Remeasure = False,
    rebuild: RebuildOption = Rebuild.AUTO,
    retry_failed: RetryFailed = False,
    priority: Priority = 0,
    wait_for_quiet: WaitForQuiet = None,
    require: Require = None,
    json: Json = False,
) -> None:
    """Measure the operators of a search space on this machine. Entries that the table already has are not measured again."""
    if sample is not None and share is not None:
        raise typer.BadParameter("--sample and --share both choose operators; give only one of them")
    settings = measuring_settings(backend=backend, database=database, threads=threads, core=core)
    spec = SpaceSpec.parse(
        {
            "name": space,
            "input_size": parse_size(input_size),
            "classes": classes,
            "batch": batch,
            "dtype": dtype,
            "parameters": dict(map(parse_parameter, parameter or ())),
        }
    )
    resolved = create_space(spec)  # an invalid space is refused before any process is started
    request = JobCreate(
        space=spec,
        workloads=_selected(resolved, sample, seed, share),
        protocol=protocol,
        budget=budget,
        remeasure=remeasure,
        rebuild=rebuild,
        retry_failed=retry_failed,
        priority=priority,
    )
    measured = measure(request, settings, start=Start(wait_for_quiet))
    job, table = measured.job, measured.table
    failures = [entry for entry in table.entries if entry.status is not Status.OK]
    spread, verdict = table.info.rebuild_spread, table_verdict(table)
    document = {
        "job": job.model_dump(mode="json"),
        "table_id": job.table_id,
        "counts": job.counts.model_dump(),
        "database": str(settings.database),
        "seconds": asdict(measured.seconds),
        "throttled": _slow(table.entries),
        "rebuild_spread": None if spread is None else spread.model_dump(mode="json") | spread.fractions(),
        "failures": [failure_document(entry) for entry in failures],
        "verdict": verdict.model_dump(mode="json"),
        "scale": None if table.info.scale is None else table.info.scale.model_dump(mode="json", exclude={"history"}),
        "check": None if table.info.check is None else table.info.check.model_dump(mode="json"),
    }
    emit(document, as_json=json, text=lambda console: _summarise(console, job, table, verdict, settings))
    require_done(measured)
    end_unless(verdict, require)


def _selected(space: SearchSpace, sample: int | None, seed: int, share: str | None) -> tuple[OperatorSpec, ...] | None:
    """The operators that the options name; None for all. Raises InvalidSpecError."""
    if share is None:
        return None if sample is None else selection.draw(space, sample, seed)
    number, _, of = share.partition("/")
    if not (number.isdecimal() and of.isdecimal()):
        raise InvalidSpecError(f"share {share!r} is not NUMBER/OF", hint="Write the second of four as 2/4.")
    return selection.share(space, int(number), int(of))


def _slow(entries: Sequence[Measurement]) -> dict[str, int]:
    """How often the device's clock was held down or far below normal, over the table."""
    return {
        "samples_set_aside": sum(entry.samples_set_aside or 0 for entry in entries),
        "entries_with_samples_set_aside": sum(bool(entry.samples_set_aside) for entry in entries),
        "entries_flagged": sum(Flag.THROTTLED in entry.flags for entry in entries),
    }


def _summarise(console: Console, job: JobPublic, table: Table, verdict: Verdict, settings: Settings) -> None:
    counts, entries = job.counts, table.entries
    measured = [entry for entry in entries if entry.value_ms is not None]
    grid = Grid(show_header=False, box=None, pad_edge=False)
    grid.add_row("table", job.table_id)
    grid.add_row("this job", f"{counts.measured} measured, {counts.reused} reused, {counts.failed} failed of {counts.total}")
    if measured:
        values = sorted(entry.value_ms or 0.0 for entry in measured)
        unsure = sum(Flag.UNCONVERGED in entry.flags for entry in measured)
        grid.add_row("fastest to slowest", f"{values[0]:.4f} to {values[-1]:.4f} ms, median {values[len(values) // 2]:.4f} ms")
        grid.add_row("not converged", f"{unsure} of {len(measured)}")
    slow = _slow(entries)
    if any(slow.values()):
        grid.add_row(
            "on a slow device",
            f"{slow['samples_set_aside']} samples of {slow['entries_with_samples_set_aside']} entries set aside; "
            f"{slow['entries_flagged']} entries flagged, because there were no other samples",
        )
    if table.info.rebuild_spread is not None:
        grid.add_row("rebuilds", table.info.rebuild_spread.sentence())
    if table.info.scale is not None:
        scale = table.info.scale
        known = (
            f"{scale.reference_ms:.4g} ± {scale.stderr_ms:.2g} ms a sentinel unit, {scale.quiet} of {scale.visits} visits quiet"
        )
        grid.add_row("scale", known)
    if table.info.check is not None:
        grid.add_row("check", table.info.check.message)
    console.print(grid)
    for number, line in enumerate(verdict.lines()):
        style = "" if verdict.level is TrustLevel.TRUSTWORTHY else "yellow" if number else "bold yellow"
        console.print(line, style=style, markup=False)
    failures = [entry for entry in entries if entry.status is not Status.OK]
    for entry in failures[:FAILURES_SHOWN]:
        console.print(f"{entry.status.value}: {entry.workload.label()}: {entry.message}", style="red", markup=False)
    if len(failures) > FAILURES_SHOWN:
        console.print(f"… and {len(failures) - FAILURES_SHOWN} more; --json lists them all")
    if job.message:
        console.print(job.message, style="red", markup=False)
    if any(entry.status is Status.CRASHED for entry in failures):
        console.print("entries that crashed are left alone by later jobs; --retry-failed tries them again")
    if job.state is JobState.DONE:
        console.print(f"next: profiler-service serve --database {settings.database}", style="dim", soft_wrap=True)
