"""`table1`: single operators that a paper compares, measured on this machine, beside the paper's numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spaces.published import OperatorComparison, PublishedOperator
from models.spaces.registry import operator_comparisons, space_class
from models.spec.architectures import SpaceSpec
from models.spec.base import Record
from models.spec.measurements import Budget, Flag, Measurement, ProtocolName, Status
from models.spec.verdicts import table_verdict
from models.spec.wire import JobCreate
from models.terminal import Json, Require, emit, end_unless, warn
from profiler_service.cli.arguments import Backend, BudgetOption, Core, Database, Remeasure, Threads, WaitForQuiet
from profiler_service.cli.local_jobs import Measured, Start, measure, require_done
from profiler_service.cli.runtime import measuring_settings

CONVENTION = (
    "FLOPs are multiply-adds of the convolutions, as in the paper; parameters include batch normalisation; "
    "the receptive field is the smallest rectangle that holds all input pixels that an output pixel depends on, and relative: "
    "(side − 1) over that of the first operator"
)


class Latency(Record):
    """One operator under one protocol.

    Attributes:
        value_ms: None where there is no value; `message` is the reason.
        status: None where the operator was not measured yet.
    """

    protocol: ProtocolName
    value_ms: float | None
    stderr_ms: float | None
    flags: tuple[Flag, ...]
    status: Status | None
    message: str


class Printed(Record):
    """The paper's numbers, as printed."""

    ms: float
    gflops: float
    megaparameters: float
    receptive_field: float


class ComparedOperator(Record):
    """One row with our numbers and the paper's.

    Attributes:
        macs: multiply-adds of the convolutions.
        parameters: weights and biases, including those of batch normalisation.
        receptive_field: height and width in pixels of the input. relative_field: see `CONVENTION`.
        latencies: one for each protocol.
        differs: why numbers differ from the paper's; empty where all agree after rounding.
    """

    name: str
    label: str
    key: str
    macs: int
    parameters: int
    receptive_field: tuple[int, int]
    relative_field: float
    latencies: tuple[Latency, ...]
    paper: Printed
    differs: str


def add_commands(app: typer.Typer) -> None:
    """Add a command for every comparison that a search space's authors published."""
    for name, comparison in operator_comparisons().items():
        help_text = f"Measure the operators of a published comparison on this machine: {comparison.comparison_title}."
        app.command(name, help=help_text)(_command(comparison))


def _command(comparison: type[OperatorComparison]) -> Callable[..., None]:
    def compare(
        backend: Backend = None,
        database: Database = None,
        budget: BudgetOption = Budget.NORMAL,
        protocol: Annotated[
            list[ProtocolName] | None,
            typer.Option(help="How times are taken. Repeatable.", show_default="in_context, and isolated as in the paper"),
        ] = None,
        dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
        threads: Threads = None,
        core: Core = None,
        remeasure: Remeasure = False,
        wait_for_quiet: WaitForQuiet = None,
        require: Require = None,
        json: Json = False,
    ) -> None:
        settings = measuring_settings(backend=backend, database=database, threads=threads, core=core)
        space = space_class(comparison.name)
        spec = SpaceSpec.parse({"name": comparison.name, "input_size": space.default_input_size, "dtype": dtype})
        published = comparison.published_operators(spec.dtype)
        workloads = tuple(row.operator for row in published)
        measured, start = [], Start(wait_for_quiet)
        for name in dict.fromkeys(protocol or (ProtocolName.IN_CONTEXT, ProtocolName.ISOLATED)):
            request = JobCreate(space=spec, workloads=workloads, protocol=name, budget=budget, remeasure=remeasure)
            measured.append(measure(request, settings, f"measuring, {name.value}", start=start))
            if measured[-1].interrupted:
                break
        rows = compared(published, measured)
        target = measured[0].table.info.target
        document = {
            "title": comparison.comparison_title,
            "convention": CONVENTION,
            "target": target.model_dump(mode="json"),
            "tables": {one.table.info.protocol.value: one.job.table_id for one in measured},
            "operators": [row.model_dump(mode="json") for row in rows],
            "verdicts": {one.table.info.protocol.value: table_verdict(one.table).model_dump(mode="json") for one in measured},
        }
        emit(document, as_json=json, text=lambda console: _show(console, comparison.comparison_title, target.label(), rows))
        for one in measured:
            warn(table_verdict(one.table), of=one.table.info.protocol.value)
        for one in measured:
            require_done(one)
        for one in measured:
            end_unless(table_verdict(one.table), require)

    return compare


def compared(published: Sequence[PublishedOperator], measured: Sequence[Measured]) -> tuple[ComparedOperator, ...]:
    """The rows of the comparison, in the paper's order. Imports torch, to count and differentiate modules."""
    from models.operators.costs import operator_costs, receptive_field

    rows: list[ComparedOperator] = []
    reach = max(receptive_field(published[0].operator)) - 1
    for row in published:
        costs, field = operator_costs(row.operator), receptive_field(row.operator)
        paper = Printed(ms=row.ms, gflops=row.gflops, megaparameters=row.megaparameters, receptive_field=row.receptive_field)
        relative = (max(field) - 1) / reach
        ours = (round(costs.convolution_macs / 1e9, 2), round(costs.parameters / 1e6, 2), relative)
        rows.append(
            ComparedOperator(
                name=row.name,
                label=row.operator.label(),
                key=row.operator.key(),
                macs=costs.convolution_macs,
                parameters=costs.parameters,
                receptive_field=field,
                relative_field=relative,
                latencies=tuple(
                    _latency(one.table.info.protocol, one.table.by_key.get(row.operator.key())) for one in measured
                ),
                paper=paper,
                differs="" if ours == (paper.gflops, paper.megaparameters, paper.receptive_field) else row.differs,
            )
        )
    return tuple(rows)


def _latency(protocol: ProtocolName, entry: Measurement | None) -> Latency:
    if entry is None:
        return Latency(
            protocol=protocol, value_ms=None, stderr_ms=None, flags=(), status=None, message="it is not measured yet"
        )
    return Latency(
        protocol=protocol,
        value_ms=entry.value_ms,
        stderr_ms=entry.stderr_ms,
        flags=entry.flags,
        status=entry.status,
        message=entry.message,
    )


def _grid(*headings: str) -> Grid:
    grid = Grid(box=None, pad_edge=False)
    for index, heading in enumerate(headings):
        grid.add_column(heading, justify="right" if index else "left", no_wrap=True)
    return grid


def _show(console: Console, title: str, target: str, rows: Sequence[ComparedOperator]) -> None:
    console.print(f"{title}\n{target}", markup=False)
    latencies = _grid("ms", *(latency.protocol.value for latency in rows[0].latencies), "(paper)")
    for row in rows:
        latencies.add_row(
            row.name,
            *("none" if latency.value_ms is None else f"{latency.value_ms:.4f}" for latency in row.latencies),
            f"({row.paper.ms:.2f})",
        )
    console.print(latencies)
    grid = _grid("ours (paper)", "FLOPs, G", "weights, M", "field", "relative")
    for row in rows:
        height, width = row.receptive_field
        grid.add_row(
            row.name,
            f"{row.macs / 1e9:.2f} ({row.paper.gflops:.2f})",
            f"{row.parameters / 1e6:.2f} ({row.paper.megaparameters:.2f})",
            f"{height}×{width}",
            f"{row.relative_field:g} ({row.paper.receptive_field:g})",
        )
    console.print(grid)
    console.print(CONVENTION, style="dim", markup=False)
    for row in rows:
        if row.differs:
            console.print(f"{row.name}: {row.differs}", markup=False)
    for row in rows:
        for latency in row.latencies:
            if latency.message:
                how = "missing" if latency.status is None else latency.status.value
                console.print(f"{how}: {row.label}: {latency.message}", style="red", markup=False)
