"""`validate`: whether a table's sums can be believed. What it computes with is imported when it runs: that takes seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spec.architectures import Parameter
from models.spec.errors import ExitCode
from models.spec.measurements import Budget, ProtocolName
from models.spec.verdicts import TrustLevel, Verdict
from models.terminal import Json, Require, emit, end_unless, parse_parameter, parse_size, people, warn
from nas_client.cli.arguments import BudgetOption, Space, Url, connect, say_uncharged, watching

if TYPE_CHECKING:
    from nas_client.service import ServiceClient
    from nas_client.table import LookupTable
    from nas_client.validation.run import ValidationRun
    from nas_client.validation.scoring import Validation


def validate(
    url: Url,
    space: Space,
    architectures: Annotated[int, typer.Option(min=8, max=10_000, help="Number of random networks to measure.")] = 40,
    input_size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Input size of the table, needed if the service has several.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=N,…", help="A parameter of the table's space, if the service has several; repeatable."),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Id of a table; repeatable. Several are compared on the same networks, measured by the first's protocol.",
        ),
    ] = None,
    protocol: Annotated[
        list[ProtocolName] | None,
        typer.Option(
            help="Instead of --table: the service's own tables of these protocols, compared on the same networks.",
            show_default=ProtocolName.IN_CONTEXT.value,
        ),
    ] = None,
    architecture: Annotated[
        list[Path] | None,
        typer.Option(metavar="A", help="JSON file of a further network to measure; repeatable."),
    ] = None,
    budget: BudgetOption = Budget.NORMAL,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random networks and of the halves of the fit.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for the report.")] = None,
    post: Annotated[
        bool, typer.Option("--post", help="Also post the result to the service, whose page of the table shows it.")
    ] = False,
    require: Require = None,
    json: Json = False,
) -> None:
    """Measure random networks, and score how well sums of table entries predict them, raw and calibrated."""
    if table and protocol:
        raise typer.BadParameter("choose tables by --table or by --protocol, not by both")
    from models.spaces.registry import read_architecture
    from nas_client.runs.manifest import begin_run
    from nas_client.validation.report import to_post, write_report
    from nas_client.validation.run import validate as run_validation

    named = [read_architecture(path.read_bytes(), str(path)) for path in architecture or ()]
    if output is not None:
        begin_run(output, "validation")
    with connect(url) as service:
        tables = _choose(service, space, input_size, dict(map(parse_parameter, parameter or ())), table or [], protocol or [])
        with watching(f"measuring {architectures} networks") as watch:
            run = run_validation(
                service, tables, architectures=architectures, budget=budget, seed=seed, watch=watch, named=named
            )
        if output is not None:
            write_report(run, output)
        if post:  # after the report, which a refusal must not cost
            service.post_validation(run.tables[0].info.id(), to_post(run))
    validation = run.scores[0].validation
    emit(validation, as_json=json, text=lambda console: _show(console, run, output))
    for table_of, score in zip(run.tables, run.scores, strict=True):
        warn(_verdict(score.validation), f"validation of {table_of.label()}")
        say_uncharged(table_of)
    if run.left_out:
        console = people()
        console.print(f"{len(run.left_out)} of {architectures} networks are left out:", style="yellow")
        for left in run.left_out:
            console.print(f"  {left.network.architecture.label()}: {left.reason}", markup=False)
        raise typer.Exit(ExitCode.WORKLOADS_FAILED)
    worst = max((_verdict(score.validation) for score in run.scores), key=lambda verdict: verdict.level.rank)
    end_unless(worst, require)


def _verdict(validation: Validation) -> Verdict:
    return validation.verdict or Verdict(level=TrustLevel.UNUSABLE)


def _choose(
    service: ServiceClient,
    space: str,
    input_size: str | None,
    parameters: Mapping[str, Parameter],
    ids: list[str],
    protocols: list[ProtocolName],
) -> list[LookupTable]:
    """The tables named, or those of that space that this service's own target was measured with, one for each protocol."""
    from nas_client.table import LookupTable, choose_table

    tables = service.tables()
    size = None if input_size is None else parse_size(input_size)
    choose = partial(choose_table, tables, space=space, input_size=size, parameters=parameters)
    if ids:
        chosen = [choose(table_id=table_id) for table_id in ids]
    else:
        target = service.target().target
        chosen = [
            choose(protocol=protocol, target=target) for protocol in dict.fromkeys(protocols or [ProtocolName.IN_CONTEXT])
        ]
    return [LookupTable(service.columns(table.id)) for table in chosen]


def _show(console: Console, run: ValidationRun, output: Path | None) -> None:
    for table, score in zip(run.tables, run.scores, strict=True):
        console.print(table.label(), markup=False)
        console.print(_grid(score.validation))
        for line in _remarks(score.validation):
            console.print(line, markup=False)
        console.print(f"verdict: {_verdict(score.validation).level.value}", style="bold")
    first = run.scores[0].validation
    if first.repeatability is not None:
        console.print(f"{first.architectures} networks; they repeat to {first.repeatability:.1%} between rounds")
    for network in first.named:
        low, high = network.interval_ms
        console.print(
            f"{network.label}: {network.measured_ms:.4f} ms measured, sum {network.sum_ms:.4f} ms, "
            f"calibrated {network.calibrated_ms:.4f} ms ({low:.4f} to {high:.4f} ms)",
            markup=False,
        )
    if output is not None:
        console.print(f"the report is in {output}", markup=False)


def _remarks(validation: Validation) -> Iterator[str]:
    """What stands below the table of agreement."""
    if (plain := validation.plain) is not None:
        yield (
            f"without sentinel normalisation: sums are {plain.raw.mape:.2%} off; scaled is {plain.scaled_over_plain:.4f} times "
            "plain, in the median over the networks"
        )
    if (sums := validation.sums) is not None:
        yield f"networks take {sums.bias:+.2%} against their sums on average (standard deviation {sums.residual_sd:.2%})"
    if (coverage := validation.coverage) is not None:
        yield (
            f"95 % intervals contain {coverage.statistical:.0%} of the networks by the sums' own uncertainty, "
            f"{coverage.validated:.0%} once corrected by the other networks"
        )


def _grid(validation: Validation) -> Grid:
    grid = Grid(box=None, pad_edge=False)
    for heading in ("estimate", "Pearson", "95 % interval", "error", "worst", "≤ 5 %", "bias (ms)"):
        grid.add_column(heading, justify="left" if heading == "estimate" else "right", no_wrap=True)
    rows = {"sum": validation.raw, "calibrated": validation.calibrated, "multiply-adds": validation.macs}
    for name, agreed in rows.items():
        low, high = agreed.pearson_ci95
        grid.add_row(
            name,
            f"{agreed.pearson:.4f}",
            f"{low:.4f} to {high:.4f}",
            f"{agreed.mape:.2%}",
            f"{agreed.worst_error:.2%}",
            f"{agreed.within_5:.0%}",
            f"{agreed.bias_ms:+.3f}",
        )
    return grid
