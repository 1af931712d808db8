"""`profile`: have a service measure a search space."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from models.spec.architectures import SpaceSpec
from models.spec.errors import ExitCode
from models.spec.measurements import Budget, ProtocolName
from models.spec.wire import JobCreate, JobPublic
from models.terminal import Json, emit, parse_size
from nas_client.cli.options import BudgetOption, ProtocolOption, Space, Url, connect
from nas_client.cli.watching import watching
from nas_client.jobs import run_job


def profile(
    url: Url,
    space: Space,
    input_size: Annotated[str, typer.Option(metavar="HxW", help="Height and width of the network's input, in pixels.")],
    budget: BudgetOption = Budget.NORMAL,
    protocol: ProtocolOption = ProtocolName.IN_CONTEXT,
    remeasure: Annotated[bool, typer.Option("--remeasure", help="Measure again what the table already holds.")] = False,
    json: Json = False,
) -> None:
    """Have the service measure every operator of a search space. What its table already holds is not measured again."""
    wanted = SpaceSpec.parse({"name": space, "input_size": parse_size(input_size)})
    request = JobCreate(space=wanted, budget=budget, protocol=protocol, remeasure=remeasure)
    with connect(url) as service, watching(f"measuring {space} {input_size}") as watch:
        job = run_job(service, request, watch)
    emit(job, as_json=json, text=lambda console: _show(console, job))
    if job.counts.failed:
        raise typer.Exit(ExitCode.WORKLOADS_FAILED)


def _show(console: Console, job: JobPublic) -> None:
    counts = job.counts
    console.print(f"table {job.table_id}: {counts.measured} operators measured, {counts.reused} reused, {counts.failed} failed")
