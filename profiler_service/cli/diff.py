"""`diff`: two tables side by side."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spec.errors import ExitCode
from models.terminal import Json, emit, people, print_unwrapped
from profiler_service.cli.arguments import TABLE_HELP, Database, Fdr, load_table, parse_fraction, parse_rate
from profiler_service.cli.runtime import load_settings

if TYPE_CHECKING:
    from profiler_service.comparison import EntryDifference, TableComparison


class FailOn(StrEnum):
    """Differences that end the command with an exit code of their own."""

    SIGNIFICANT = "significant"
    SLOWER = "slower"


def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help=f"First table: {TABLE_HELP[0].lower()}{TABLE_HELP[1:]}")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Second table, likewise.")],
    database: Database = None,
    fdr: Fdr = "0.05",
    everything: Annotated[bool, typer.Option("--all", help="List all entries, significant or not.")] = False,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(
            help="End with exit code 7 if an entry differs significantly, or is significantly slower in AFTER, or failed there."
        ),
    ] = None,
    threshold: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Smallest difference that counts for --fail-on, such as 5%.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare two tables: entries of only one table, differences between values, and which differences are significant."""
    from profiler_service.comparison import compare

    if threshold is not None and fail_on is None:
        raise typer.BadParameter("--threshold needs --fail-on")
    least = parse_fraction(threshold or "0", "--threshold")
    rate, settings = parse_rate(fdr), load_settings(database=database)
    comparison = compare(load_table(before, settings), load_table(after, settings), fdr=rate)
    counted = [] if fail_on is None else [*comparison.failed, *_counted(comparison.significant, fail_on, least)]
    document = comparison.model_dump(mode="json", exclude=None if everything else {"differences"})
    if fail_on is not None:
        document["gate"] = {"fail_on": fail_on.value, "threshold": least, "found": len(counted)}
    emit(document, as_json=json, text=lambda console: _show(console, comparison, everything=everything))
    if fail_on is None:
        return
    if not comparison.tested and not comparison.failed:
        people().print("--fail-on cannot be decided: no entry can be tested for significance", style="bold red")
        raise typer.Exit(int(ExitCode.BAD_INPUT))
    if counted:
        people().print(f"--fail-on {fail_on.value}: {len(counted)} entries, the first {counted[0]}", style="bold red")
        raise typer.Exit(int(ExitCode.REGRESSION))


def _counted(significant: Sequence[EntryDifference], fail_on: FailOn, least: float) -> list[str]:
    """Labels of significant differences of that direction and at least that size, largest first."""
    return [
        entry.label
        for entry in significant
        if abs(entry.relative) >= least and (fail_on is FailOn.SIGNIFICANT or entry.relative > 0)
    ]


def _show(console: Console, found: TableComparison, *, everything: bool) -> None:
    console.print(f"before {found.a}   after {found.b}")
    if not found.same_table:
        console.print("the tables have different identities, so differences may have no meaning:", style="bold yellow")
        console.print(found.mismatch, style="yellow", markup=False)
    console.print(f"in both {found.common}, only before {len(found.only_a)}, only after {len(found.only_b)}")
    if found.failed:
        console.print(f"failed after, and measured before: {len(found.failed)}, the first {found.failed[0]}", style="yellow")
    if found.median_relative is None or found.median_absolute is None or found.p95_absolute is None:
        return
    console.print(
        f"change: median {found.median_relative:+.2%}; size of the difference: median {found.median_absolute:.2%}, "
        f"95th percentile {found.p95_absolute:.2%}"
    )
    console.print(significance_line(found))
    if everything:
        _list(console, "all differences", found.differences)
    elif found.significant:
        _list(console, "significant differences", found.significant)
    elif not found.tested:
        _list(console, "largest differences", found.worst)


def significance_line(found: TableComparison) -> str:
    """How many differences are significant, as one sentence."""
    why = "a test needs a value above 0, its standard error and at least two rounds in both tables"
    if not found.tested:
        return f"significance cannot be tested: {why}, and no entry has them"
    scale = f", with a standard error of {found.scale_stderr:.2%} for the scales" if found.scale_stderr else ""
    untested = f"; {found.untested} more cannot be tested: {why}" if found.untested else ""
    count = found.slower + found.faster
    return (
        f"significant at a false-discovery rate of {found.fdr:g}{scale}: {count} of {found.tested} entries, "
        f"{found.slower} slower, {found.faster} faster{untested}"
    )


def _list(console: Console, title: str, entries: Sequence[EntryDifference]) -> None:
    grid = Grid(title, "before ms", "after ms", "change", "95 % interval", "", box=None, pad_edge=False)
    for entry in entries:
        interval = "" if entry.low is None or entry.high is None else f"{entry.low:+.1%} to {entry.high:+.1%}"
        mark = {True: "significant", False: "", None: "not tested"}[entry.significant]
        row = (f"{entry.a_ms:.4f}", f"{entry.b_ms:.4f}", f"{entry.relative:+.1%}", interval, mark)
        grid.add_row(entry.label, *row)
    print_unwrapped(console, grid)
