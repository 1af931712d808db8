"""`profile`: have a service measure a search space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from models.spec.architectures import SpaceSpec
from models.spec.errors import ExitCode
from models.spec.measurements import Budget, Measurement, ProtocolName, Status
from models.spec.wire import JobCreate, JobPublic, Rebuild
from models.terminal import Json, Require, emit, end_unless, parse_parameter, parse_size, warn
from nas_client.cli.options import BudgetOption, ProtocolOption, Space, Url, connect
from nas_client.cli.watching import watching


def profile(
    url: Url,
    space: Space,
    input_size: Annotated[str, typer.Option(metavar="HxW", help="Height and width of the network's input, in pixels.")],
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=N,…", help="A parameter of the space, layers=8; repeatable.")
    ] = None,
    budget: BudgetOption = Budget.NORMAL,
    protocol: ProtocolOption = ProtocolName.IN_CONTEXT,
    remeasure: Annotated[bool, typer.Option("--remeasure", help="Measure again what the table already holds.")] = False,
    rebuild: Annotated[
        Rebuild,
        typer.Option(
            help="Whether 5 % of the entries are built three times from scratch, to report how much builds differ; auto: "
            "unless the budget is quick."
        ),
    ] = Rebuild.AUTO,
    require: Require = None,
    json: Json = False,
) -> None:
    """Have the service measure every operator of a search space. What its table already holds is not measured again."""
    from nas_client.jobs import run_job

    parameters = dict(map(parse_parameter, parameter or ()))
    wanted = SpaceSpec.parse({"name": space, "input_size": parse_size(input_size), "parameters": parameters})
    request = JobCreate(space=wanted, budget=budget, protocol=protocol, remeasure=remeasure, rebuild=rebuild)
    with connect(url) as service:
        with watching(f"measuring {space} {input_size}") as watch:
            job = run_job(service, request, watch)
        entries = service.table(job.table_id).entries if job.counts.failed else ()
    failures = [entry for entry in entries if entry.status is not Status.OK]
    document = {
        "job": job.model_dump(mode="json"),
        "table_id": job.table_id,
        "counts": job.counts.model_dump(),
        "failures": [
            {"label": entry.workload.label(), "key": entry.key(), "status": entry.status.value, "message": entry.message}
            for entry in failures
        ],
    }
    emit(document, as_json=json, text=lambda console: _show(console, job, failures))
    if job.verdict is not None:
        warn(job.verdict, of=f"table {job.table_id}")
    if job.counts.failed:
        raise typer.Exit(ExitCode.WORKLOADS_FAILED)
    if job.verdict is not None:
        end_unless(job.verdict, require)


def _show(console: Console, job: JobPublic, failures: Sequence[Measurement]) -> None:
    counts = job.counts
    console.print(f"table {job.table_id}: {counts.measured} operators measured, {counts.reused} reused, {counts.failed} failed")
    for entry in failures:
        console.print(f"{entry.status.value}: {entry.workload.label()}: {entry.message}", style="red", markup=False)
