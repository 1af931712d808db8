"""`estimate`: the latency of one network, from a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spec.errors import ExitCode
from models.terminal import Json, Require, emit, end_unless, people, warn
from nas_client.cli.arguments import TableSource, ValidationFolder, known_bias, load_table, say, say_uncharged

if TYPE_CHECKING:
    from nas_client.estimates import Estimate
    from nas_client.table import LookupTable, Term


def command(
    table: TableSource,
    architecture: Annotated[Path, typer.Option(metavar="A", help="JSON file with the architecture.")],
    calibration: Annotated[
        Path | None, typer.Option(metavar="C", help="The calibration.json that `validate` wrote for this table.")
    ] = None,
    validation: ValidationFolder = None,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="End with 0 even if operators have no entry.")] = False,
    require: Require = None,
    json: Json = False,
) -> None:
    """Estimate a network's latency as the sum of its operators' entries. Missing entries are listed and never count as zero."""
    from models.spaces.registry import read_architecture
    from nas_client.estimates import estimate, read_calibration

    found = load_table(table)
    fitted = read_calibration(calibration, found, say) if calibration is not None else None
    network = read_architecture(architecture.read_bytes(), str(architecture))
    result = estimate(network, found, fitted, known_bias(table, found, validation))
    emit(
        document(result) | {"verdict": found.verdict.model_dump(mode="json")},
        as_json=json,
        text=lambda console: _show(console, result),
    )
    warn(found.verdict, found.label())
    say_uncharged(found)
    if result.missing:
        explain_missing(result.terms, found)
        if not allow_missing:
            raise typer.Exit(ExitCode.BAD_INPUT)
    end_unless(found.verdict, require)


def document(result: Estimate) -> dict[str, object]:
    """An estimate as JSON."""
    certainty = result.uncertainty
    return {
        "sum_ms": result.sum_ms,
        "calibrated_ms": result.calibrated_ms,
        "interval_ms": result.interval_ms,
        "sum_stderr_ms": None if certainty is None else certainty.stderr_ms,
        "sum_interval_ms": None if certainty is None else certainty.interval_ms,
        "sum_interval_kind": None if certainty is None else certainty.kind,
        "operators": [{"label": term.operator.label(), "key": term.operator.key(), "ms": term.ms} for term in result.terms],
        "missing": [
            {"label": term.operator.label(), "key": term.operator.key(), "reason": term.reason} for term in result.missing
        ],
    }


def _show(console: Console, result: Estimate) -> None:
    grid = Grid("operator", box=None, pad_edge=False)
    grid.add_column("ms", justify="right")
    for term in result.terms:
        grid.add_row(term.operator.label(), "missing" if term.ms is None else f"{term.ms:.4f}")
    console.print(grid)
    known = len(result.terms) - len(result.missing)
    console.print(f"sum of {known} operators: {result.sum_ms:.4f} ms")
    console.print(certainty_sentence(result))
    if result.calibrated_ms is not None and result.interval_ms is not None:
        low, high = result.interval_ms
        console.print(f"calibrated: {result.calibrated_ms:.4f} ms, 95 % of such networks take {low:.4f} to {high:.4f} ms")


def certainty_sentence(result: Estimate) -> str:
    """How certain the sum is, and of what, for people."""
    if (certainty := result.uncertainty) is None:
        return "the sum has no interval: an operator has no value, or its entry has no standard error"
    low, high = certainty.interval_ms
    if certainty.kind == "validated":
        return f"by the table's validation, 95 % of networks with that sum take {low:.4f} to {high:.4f} ms"
    return (
        f"the sum is {low:.4f} to {high:.4f} ms with 95 % certainty (standard error {certainty.stderr_ms:.4f} ms); "
        "the difference between sums and networks is not known without a validation (--validation DIR)"
    )


def explain_missing(terms: Sequence[Term], table: LookupTable) -> None:
    """Say which terms of a sum have no value, why, and how they get one."""
    console = people()
    missing = [term for term in terms if term.ms is None]
    console.print(
        f"{len(missing)} of {len(terms)} operators have no value in {table.label()}; the sum leaves them out:", markup=False
    )
    for term in missing:
        console.print(f"  {term.operator.label()}: {term.reason}", markup=False)
    console.print(table.measuring_advice(), markup=False)
