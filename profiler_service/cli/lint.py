"""`lint`: suspicious entries of one table."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spec.errors import ExitCode
from models.terminal import Json, emit, people, print_unwrapped
from profiler_service.cli.arguments import Database, Fdr, TableName, is_file, load_table, parse_fraction, parse_rate
from profiler_service.cli.runtime import load_settings, open_existing_store

if TYPE_CHECKING:
    from profiler_service.linting import Inversion, LintReport

ENTRIES_SHOWN = 5


class FailOn(StrEnum):
    """Findings that end the command with exit code 7."""

    INVERSIONS = "inversions"


def lint(
    table: TableName,
    database: Database = None,
    fdr: Fdr = "0.05",
    plain: Annotated[
        str, typer.Option(metavar="SHARE", help="Report entries whose plain and normalised values differ by more than this.")
    ] = "20%",
    fail_on: Annotated[FailOn | None, typer.Option(help="End with exit code 7 if there are inversions.")] = None,
    json: Json = False,
) -> None:
    """Find suspicious entries in a table: larger operators that take less time, flags, failures, an unreliable scale."""
    from profiler_service.linting import lint as lint_table
    from profiler_service.raw_data import rounds_of

    rate, apart, settings = parse_rate(fdr), parse_fraction(plain, "--plain"), load_settings(database=database)
    if is_file(table):
        report = lint_table(load_table(table, settings), fdr=rate, plain_apart=apart)
    else:
        with open_existing_store(settings) as store:
            content = store.table(table)
            report = lint_table(content, partial(rounds_of, store, table), fdr=rate, plain_apart=apart)
    emit(report, as_json=json, text=lambda console: _show(console, report))
    if fail_on is FailOn.INVERSIONS:
        _gate(report)


def _gate(report: LintReport) -> None:
    """End the command if the table has inversions, or if no pair can be tested."""
    if report.pairs and not report.tested:
        people().print("--fail-on cannot be decided: no entry can be tested for significance", style="bold red")
        raise typer.Exit(int(ExitCode.BAD_INPUT))
    if report.inversions:
        people().print(f"--fail-on inversions: {len(report.inversions)} found", style="bold red")
        raise typer.Exit(int(ExitCode.REGRESSION))


def _show(console: Console, report: LintReport) -> None:
    console.print(f"table {report.table_id}, {report.entries} entries")
    console.print(_inversions_line(report))
    if report.inversions:
        print_unwrapped(console, _grid(report.inversions))
    for finding in report.findings:
        console.print(f"{finding.name}: {finding.text}", markup=False)
        for entry in finding.entries[:ENTRIES_SHOWN]:
            console.print(f"  {entry.key}  {entry.label}{f': {entry.detail}' if entry.detail else ''}", markup=False)
        if len(finding.entries) > ENTRIES_SHOWN:
            console.print(f"  … and {len(finding.entries) - ENTRIES_SHOWN} more; --json lists them all")
    if not report.inversions and not report.findings:
        console.print("no other findings")


def _inversions_line(report: LintReport) -> str:
    if not report.pairs:
        return "inversions: no two operators differ in only one size"
    if not report.tested:
        return (
            f"inversions: none of {report.pairs} pairs can be tested: "
            "a test needs a standard error and at least two rounds for both entries"
        )
    parts = [
        f"inversions: in {len(report.inversions)} of {report.tested} pairs the larger operator takes less time, "
        f"at a false-discovery rate of {report.fdr:g}"
    ]
    if any(inversion.repeats is None for inversion in report.inversions):
        parts.append("files hold no rounds, so it is unknown whether the inversions repeat")
    if report.not_repeated:
        parts.append(f"{report.not_repeated} more are left out, because most rounds do not show them")
    return "; ".join(parts)


def _grid(inversions: Sequence[Inversion]) -> Grid:
    grid = Grid("smaller", "ms", "larger", "ms", "falls", "grows", "in rounds", box=None, pad_edge=False)
    for one in inversions:
        rounds = "unknown" if one.repeats is None else f"{one.rounds_falling} of {one.rounds}"
        grid.add_row(
            one.smaller,
            f"{one.smaller_ms:.4f}",
            one.larger,
            f"{one.larger_ms:.4f}",
            f"{one.relative:.1%}",
            one.grows,
            rounds,
        )
    return grid
