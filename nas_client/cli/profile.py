"""`profile`, `pull` and `measure`: what a service measures, and its tables as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spec.architectures import SpaceSpec
from models.spec.errors import ExitCode, UnknownNameError
from models.spec.limits import MAX_PRIORITY
from models.spec.measurements import Budget, Measurement, ProtocolName, Status
from models.spec.table_files import TableFormat
from models.spec.wire import JobCreate, JobPublic, Rebuild
from models.terminal import Json, Require, emit, end_unless, parse_parameter, parse_size, warn
from nas_client.cli.arguments import BudgetOption, ProtocolOption, Space, Url, connect, say_uncharged, watching


def profile(
    url: Url,
    space: Space,
    input_size: Annotated[str, typer.Option(metavar="HxW", help="Height and width of the network's input, in pixels.")],
    classes: Annotated[int, typer.Option(metavar="N", help="Number of classes that the networks predict.")] = 19,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=N,…", help="A parameter of the space, such as layers=8; repeatable.")
    ] = None,
    budget: BudgetOption = Budget.NORMAL,
    protocol: ProtocolOption = ProtocolName.IN_CONTEXT,
    remeasure: Annotated[
        bool, typer.Option("--remeasure", help="Also measure operators that the table already holds.")
    ] = False,
    rebuild: Annotated[
        Rebuild,
        typer.Option(
            help="Build 5 % of the entries three times from scratch, to report how much builds differ. auto: unless the "
            "budget is quick."
        ),
    ] = Rebuild.AUTO,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also try again the operators whose engines have crashed twice.")
    ] = False,
    priority: Annotated[
        int,
        typer.Option(
            min=-MAX_PRIORITY, max=MAX_PRIORITY, help="Jobs of a higher priority are measured before others that wait."
        ),
    ] = 0,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Only create the job, and end. `nas-client jobs` shows how far it is.")
    ] = False,
    require: Require = None,
    json: Json = False,
) -> None:
    """Have a service measure every operator of a search space. Operators that its table already holds are skipped."""
    from nas_client.service import run_job

    if no_wait and require is not None:
        raise typer.BadParameter("--require is about the job's result, and --no-wait does not wait for it; give one of the two")
    parameters = dict(map(parse_parameter, parameter or ()))
    wanted = SpaceSpec.parse(
        {"name": space, "input_size": parse_size(input_size), "classes": classes, "parameters": parameters}
    )
    request = JobCreate(
        space=wanted,
        budget=budget,
        protocol=protocol,
        remeasure=remeasure,
        rebuild=rebuild,
        retry_failed=retry_failed,
        priority=priority,
    )
    with connect(url) as service:
        if no_wait:
            created = service.create_job(request)
            emit(_document(created, ()), as_json=json, text=lambda console: _show_created(console, created))
            return
        with watching(f"measuring {space} {input_size}") as watch:
            job = run_job(service, request, watch)
        entries = service.table(job.table_id).entries if job.counts.failed else ()
    failures = [entry for entry in entries if entry.status is not Status.OK]
    emit(_document(job, failures), as_json=json, text=lambda console: _show_job(console, job, failures))
    if job.verdict is not None:
        warn(job.verdict, of=f"table {job.table_id}")
    if job.counts.failed:
        raise typer.Exit(ExitCode.WORKLOADS_FAILED)
    if job.verdict is not None:
        end_unless(job.verdict, require)


def _document(job: JobPublic, failures: Sequence[Measurement]) -> dict[str, Any]:
    return {
        "job": job.model_dump(mode="json"),
        "table_id": job.table_id,
        "counts": job.counts.model_dump(),
        "failures": [
            {"label": entry.workload.label(), "key": entry.key(), "status": entry.status.value, "message": entry.message}
            for entry in failures
        ],
    }


def _show_created(console: Console, job: JobPublic) -> None:
    console.print(f"job {job.id} is {job.state.value}; its results go into table {job.table_id}")
    console.print(f"`nas-client jobs` shows how far it is, and `nas-client cancel {job.id}` ends it")


def _show_job(console: Console, job: JobPublic, failures: Sequence[Measurement]) -> None:
    counts = job.counts
    console.print(f"table {job.table_id}: {counts.measured} operators measured, {counts.reused} reused, {counts.failed} failed")
    for entry in failures:
        console.print(f"{entry.status.value}: {entry.workload.label()}: {entry.message}", style="red", markup=False)
    if job.message:
        console.print(job.message, style="red", markup=False)
    if any(entry.status is Status.CRASHED for entry in failures):
        console.print("operators that crashed are left alone by later jobs; --retry-failed tries them again")


def pull(
    url: Url,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="F", help="File to write. Its suffix selects the format.")],
    table: Annotated[str | None, typer.Option(metavar="ID", help="Id of the table, needed if the service has several.")] = None,
    require: Require = None,
    json: Json = False,
) -> None:
    """Copy a table from a service into a file. An unchanged table is not transferred again."""
    from nas_client.table import LookupTable, choose_table

    table_format = _format_of(output)
    with connect(url) as service:
        found = LookupTable(service.columns(choose_table(service.tables(), table_id=table).id))
    found.write(output, table_format)
    document = {
        "table_id": found.info.id(),
        "path": str(output),
        "format": table_format.value,
        "entries": len(found),
        "failed": found.failed,
        "verdict": found.verdict.model_dump(mode="json"),
    }
    sentence = f"{len(found)} entries of {found.label()} are in {output}"
    emit(document, as_json=json, text=lambda console: console.print(sentence, markup=False))
    warn(found.verdict, found.label())
    say_uncharged(found)
    end_unless(found.verdict, require)


def _format_of(path: Path) -> TableFormat:
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in set(TableFormat):
        raise UnknownNameError.of("table format", suffix, [table_format.value for table_format in TableFormat])
    return TableFormat(suffix)


def measure(
    url: Url,
    architecture: Annotated[Path, typer.Option(metavar="A", help="JSON file with the architecture.")],
    table: Annotated[list[str], typer.Option(metavar="ID", help="Table of the service; repeatable.")],
    budget: BudgetOption = Budget.NORMAL,
    json: Json = False,
) -> None:
    """Measure one network by the protocol of each table, and show the result beside the sum of the table's entries.

    A failed measurement is printed with its reason, and the command ends with 4. So is a protocol that refuses such networks,
    but that is no failure.
    """
    from models.spaces.registry import read_architecture
    from nas_client.estimates import measure as measure_network

    network = read_architecture(architecture.read_bytes(), str(architecture))
    with connect(url) as service, watching(f"measuring {network.label()}") as watch:
        rows = [measure_network(service, network, table_id, budget, watch) for table_id in table]
    document = {"network": network.label(), "tables": rows}
    emit(document, as_json=json, text=lambda console: _show_rows(console, rows))
    if any(row["measured_ms"] is None and not row["refused"] for row in rows):
        raise typer.Exit(ExitCode.WORKLOADS_FAILED)


def _show_rows(console: Console, rows: list[dict[str, Any]]) -> None:
    grid = Grid("protocol", box=None, pad_edge=False)
    for heading in ("measured (ms)", "sum (ms)", "error"):
        grid.add_column(heading, justify="right")
    for row in rows:
        measured = "none" if row["measured_ms"] is None else f"{row['measured_ms']:.4f}"
        grid.add_row(row["protocol"], measured, f"{row['sum_ms']:.4f}", "" if row["error"] is None else f"{row['error']:+.2%}")
    console.print(grid)
    for row in rows:
        if row["message"]:
            console.print(f"{row['protocol']}: {row['message']}", markup=False)
