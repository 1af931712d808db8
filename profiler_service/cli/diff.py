"""`diff`: two tables side by side."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spec.errors import ExitCode
from models.terminal import Json, emit, people, print_whole
from profiler_service.cli.arguments import Database, Fdr, TableName, load_table, parse_fraction, parse_rate
from profiler_service.cli.runtime import load_settings

if TYPE_CHECKING:
    from profiler_service.comparison import EntryDifference, TableComparison


class FailOn(StrEnum):
    """Differences that end the command with an exit code of their own."""

    SIGNIFICANT = "significant"
    SLOWER = "slower"


def diff(
    a: TableName,
    b: TableName,
    database: Database = None,
    fdr: Fdr = "0.05",
    everything: Annotated[bool, typer.Option("--all", help="List every entry, significant or not.")] = False,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(help="End with exit code 7 where an entry differs significantly, or is significantly slower in B."),
    ] = None,
    threshold: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Only differences of at least that size count for --fail-on: 5%.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare table B with table A: what only one has, how far the values are apart, and what of it is more than noise."""
    from profiler_service.comparison import compare

    if threshold is not None and fail_on is None:
        raise typer.BadParameter("--threshold says what counts for --fail-on; give both")
    least = parse_fraction(threshold or "0", "--threshold")
    rate, settings = parse_rate(fdr), load_settings(database=database)
    comparison = compare(load_table(a, settings), load_table(b, settings), fdr=rate)
    counted = [] if fail_on is None else _counted(comparison.significant, fail_on, least)
    document = comparison.model_dump(mode="json", exclude=None if everything else {"differences"})
    if fail_on is not None:
        document["gate"] = {"fail_on": fail_on.value, "threshold": least, "found": len(counted)}
    emit(document, as_json=json, text=lambda console: _show(console, comparison, everything=everything))
    if fail_on is None:
        return
    if not comparison.told:
        people().print("--fail-on cannot be decided, since significance cannot be told of any entry", style="bold red")
        raise typer.Exit(int(ExitCode.BAD_INPUT))
    if counted:
        people().print(f"--fail-on {fail_on.value}: {len(counted)} entries, the first {counted[0].label}", style="bold red")
        raise typer.Exit(int(ExitCode.REGRESSION))


def _counted(significant: Sequence[EntryDifference], fail_on: FailOn, least: float) -> list[EntryDifference]:
    """What a gate is about: significant differences of that direction and at least that size, largest first."""
    return [
        entry for entry in significant if abs(entry.relative) >= least and (fail_on is FailOn.SIGNIFICANT or entry.relative > 0)
    ]


def _show(console: Console, found: TableComparison, *, everything: bool) -> None:
    console.print(f"A {found.a}   B {found.b}")
    if not found.same_table:
        console.print("not the same table, so a difference need not mean anything:", style="bold yellow")
        console.print(found.mismatch, style="yellow", markup=False)
    console.print(f"in both {found.common}, only in A {len(found.only_a)}, only in B {len(found.only_b)}")
    if found.median_relative is None or found.median_absolute is None or found.p95_absolute is None:
        return
    console.print(
        f"B against A: median {found.median_relative:+.2%}; size of the difference: median {found.median_absolute:.2%}, "
        f"95th percentile {found.p95_absolute:.2%}"
    )
    console.print(significance_line(found))
    if everything:
        _list(console, "all differences", found.differences)
    elif found.significant:
        _list(console, "significant differences", found.significant)
    elif not found.told:
        _list(console, "largest differences", found.worst)


def significance_line(found: TableComparison) -> str:
    """What of the differences is more than noise, one sentence for people."""
    why = "an entry needs a standard error and at least two rounds in both tables"
    if not found.told:
        return f"significance cannot be told: {why}, and none has them"
    scale = f", with {found.scale_stderr:.2%} for the scales of both" if found.scale_stderr else ""
    untold = f"; of {found.untold} more it cannot be told: {why}" if found.untold else ""
    count = found.slower + found.faster
    return (
        f"significant at a false-discovery rate of {found.fdr:g}{scale}: {count} of {found.told} entries, "
        f"{found.slower} slower in B, {found.faster} faster{untold}"
    )


def _list(console: Console, title: str, entries: Sequence[EntryDifference]) -> None:
    grid = Grid(title, "A ms", "B ms", "B against A", "95 % interval", "", box=None, pad_edge=False)
    for entry in entries:
        interval = "" if entry.low is None or entry.high is None else f"{entry.low:+.1%} to {entry.high:+.1%}"
        mark = {True: "significant", False: "", None: "cannot be told"}[entry.significant]
        row = (f"{entry.a_ms:.4f}", f"{entry.b_ms:.4f}", f"{entry.relative:+.1%}", interval, mark)
        grid.add_row(entry.label, *row)
    print_whole(console, grid)
