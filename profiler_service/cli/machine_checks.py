"""`doctor` and `gpu-check`: is this machine ready to measure, and does a GPU box deliver what is promised?

What they run is imported when they run, so that the command line stays light.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from models.spec.errors import ExitCode
from models.spec.measurements import Budget, ProtocolName
from models.terminal import Json, emit
from profiler_service.backends.backend_options import DeviceKind
from profiler_service.cli.arguments import Backend, Database, Threads
from profiler_service.cli.runtime import describe_backend, load_settings

if TYPE_CHECKING:
    from profiler_service.diagnosis import Finding

_MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "problem": "[red]problem[/]"}


def doctor(database: Database = None, backend: Backend = None, threads: Threads = None, json: Json = False) -> None:
    """Check Python, GPUs, backends, database, disk and CPU. Ends with exit code 3 if something prevents measuring."""
    from profiler_service.diagnosis import Outcome, diagnose

    settings = load_settings(database=database, backend=backend, threads=threads)
    findings = list(diagnose(settings, describe_backend))
    ready = all(finding.outcome is not Outcome.PROBLEM for finding in findings)
    document = {"ready": ready, "findings": [finding.model_dump(mode="json") for finding in findings]}
    emit(document, as_json=json, text=lambda console: _show(console, findings))
    if not ready:
        raise typer.Exit(int(ExitCode.BAD_INPUT))


def _show(console: Console, findings: Iterable[Finding]) -> None:
    for finding in findings:
        console.print(f"{_MARKS[finding.outcome]} {finding.name}: {escape(finding.detail)}", soft_wrap=True, markup=True)
        if finding.hint:
            console.print(f"        {escape(finding.hint)}", style="dim", soft_wrap=True, markup=True)


LIMIT_S = 440.0
"""Seconds after which the commands of a part are interrupted. With the time to end, a part takes less than nine minutes."""

_MEASURED = "What to measure (the same for all parts in one folder)"


def _seconds(text: str) -> float:
    """Seconds in the text. Raises BadParameter unless it is a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"must be a number of seconds above 0, not {text!r}")
    return value


def gpu_check(
    list_only: Annotated[bool, typer.Option("--list", help="List the parts and their state, and run nothing.")] = False,
    part: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Run only this part, once. Repeatable.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for results.", show_default="build/gpu-check")
    ] = None,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Rehearse on the CPU in a small space.")] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Repeat parts that are done.")] = False,
    limit: Annotated[
        float, typer.Option(parser=_seconds, metavar="S", help="Seconds after which the commands of a part are interrupted.")
    ] = LIMIT_S,
    reference: Annotated[
        Path | None, typer.Option(metavar="DIR", envvar="OPCLOCK_REFERENCE", help="Folder of data published with papers.")
    ] = None,
    tables: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for tables of the part `publish`.", show_default="lut_data")
    ] = None,
    device: Annotated[DeviceKind | None, typer.Option(help="Kind of device.", rich_help_panel=_MEASURED)] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Runtime to check. Repeatable.",
            show_default="all that run on the device",
            rich_help_panel=_MEASURED,
        ),
    ] = None,
    dtype: Annotated[
        list[str] | None, typer.Option(help="float32, float16 or bfloat16. Repeatable.", rich_help_panel=_MEASURED)
    ] = None,
    protocol: Annotated[
        list[ProtocolName] | None,
        typer.Option(help="Way of taking times. Repeatable.", show_default="all", rich_help_panel=_MEASURED),
    ] = None,
    space: Annotated[str | None, typer.Option(metavar="NAME", help="Search space.", rich_help_panel=_MEASURED)] = None,
    input_size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Height and width of the input images.", rich_help_panel=_MEASURED)
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N,…", help="Parameter of the space. Repeatable. '' for the defaults.", rich_help_panel=_MEASURED
        ),
    ] = None,
    budget: Annotated[Budget | None, typer.Option(help="How much time to spend.", rich_help_panel=_MEASURED)] = None,
    shares: Annotated[
        int | None,
        typer.Option(metavar="N", help="Number of commands that measure one table.", rich_help_panel=_MEASURED),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(metavar="N", help="Number of entries for repeatability.", rich_help_panel=_MEASURED)
    ] = None,
    architectures: Annotated[
        int | None, typer.Option(metavar="N", help="Number of networks in a validation.", rich_help_panel=_MEASURED)
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option(metavar="N", help="Number of networks that one command measures, interleaved.", rich_help_panel=_MEASURED),
    ] = None,
) -> None:
    """Check a GPU box part by part (docs/gpu.md). Parts that are done are not repeated.

    Ends with exit code 0 if every part is done or does not apply here, 4 if a part failed, and 75 if a part needs another call.
    """
    from profiler_service.gpu_check.driver import Options, run

    given: dict[str, Any] = {
        "device": device,
        "backends": tuple(backend or ()) or None,
        "dtypes": tuple(dtype or ()) or None,
        "protocols": tuple(name.value for name in protocol or ()) or None,
        "space": space,
        "input_size": input_size,
        "parameters": None if parameter is None else tuple(filter(None, parameter)),
        "budget": None if budget is None else budget.value,
        "shares": shares,
        "sample": sample,
        "architectures": architectures,
        "at_once": at_once,
    }
    options = Options(
        limit_s=limit,
        parts=tuple(part or ()),
        list_only=list_only,
        output=output,
        reference=reference,
        tables=tables,
        rehearse=rehearse,
        redo=redo,
        changes={name: value for name, value in given.items() if value is not None},
    )
    raise typer.Exit(run(options))
