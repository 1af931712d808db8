"""`foreign`: latency tables of other projects, by their own keys."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spec.errors import InvalidSpecError
from models.terminal import Json, emit, print_unwrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profiler_service.foreign.comparison import ForeignComparison
    from profiler_service.foreign.foreign_table import ForeignEntry, ForeignTable

app = typer.Typer(
    help="Latency tables of other projects, by their own keys: YAML of Once-for-All, JSON of FBNet.", no_args_is_help=True
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="YAML of Once-for-All or ProxylessNAS, or JSON of FBNet.")]

SHOWN = 20


@app.command("show")
def show(
    file: File,
    text: Annotated[
        str | None, typer.Option("--text", metavar="TEXT", help="List only keys with this text.", show_default="all")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Keys that are listed; --json lists all.")] = SHOWN,
    json: Json = False,
) -> None:
    """Say what a foreign table holds, and list its entries."""
    from profiler_service.foreign.foreign_table import read_foreign

    table = read_foreign(file)
    entries = [entry for entry in table.entries if text is None or text in entry.key]
    if not entries:
        raise InvalidSpecError(f"--text {text!r}: no key of {file} has it", hint=f"A key is {table.entries[0].key!r}.")
    document = table.model_dump(mode="json") | {"entries": [entry.model_dump(mode="json") for entry in entries]}
    emit(document, as_json=json, text=lambda console: _show(console, table, entries, limit))


@app.command("lookup")
def lookup(
    file: File,
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY…", help="Keys as the table writes them; `foreign show` lists them.")
    ],
    json: Json = False,
) -> None:
    """Print the latencies of those keys, in milliseconds."""
    from profiler_service.foreign.foreign_table import read_foreign

    table = read_foreign(file)
    entries = [table.lookup(key) for key in keys]
    document = {"source": table.source, "entries": [entry.model_dump(mode="json") for entry in entries]}
    emit(document, as_json=json, text=lambda console: _list(console, entries))


@app.command("compare")
def compare_tables(
    before: Annotated[Path, typer.Argument(metavar="A", help="First table.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Second table, of the same format.")],
    json: Json = False,
) -> None:
    """Compare two foreign tables over their common keys: ratios and rank correlation."""
    from profiler_service.foreign.comparison import compare
    from profiler_service.foreign.foreign_table import read_foreign

    found = compare(read_foreign(before), read_foreign(after))
    emit(found, as_json=json, text=lambda console: _show_comparison(console, found))


@app.command("export")
def export(
    file: File,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File to write.")],
    format: Annotated[Literal["csv", "json"], typer.Option(help="Format of the file.")] = "csv",  # noqa: A002 - the option's name
    json: Json = False,
) -> None:
    """Write a foreign table to CSV or JSON, with its own keys, in milliseconds."""
    from profiler_service.foreign.foreign_table import ExportFormat, read_foreign, write_export

    if output.exists() and output.samefile(file):
        raise InvalidSpecError(f"--output {output} is the table itself", hint="Name another file.")
    table = read_foreign(file)
    write_export(table, output, ExportFormat(format))
    document = {"path": str(output), "format": format, "entries": len(table.entries)}
    emit(document, as_json=json, text=lambda console: console.print(f"{len(table.entries)} entries written to {output}"))


def _show(console: Console, table: ForeignTable, entries: Sequence[ForeignEntry], limit: int) -> None:
    values = [entry.ms for entry in table.entries]
    types = ", ".join(f"{count} {name}" for name, count in Counter(entry.type for entry in table.entries).most_common())
    console.print(f"{table.source}: {table.format.value}, {len(values)} entries: {types}", markup=False)
    console.print(f"value: {table.value}; device: {table.device or 'the file does not say'}", markup=False)
    console.print(f"fastest to slowest {min(values):.4g} to {max(values):.4g} ms, median {median(values):.4g} ms")
    if table.repeats:
        first = table.repeats[0]
        again = f"{len(table.repeats)} keys are repeated with the same value"
        console.print(f"{again}, the first in row {first.row}: {first.key}", markup=False)
    _list(console, entries[:limit])
    if len(entries) > limit:
        console.print(f"… and {len(entries) - limit} more; --limit shows more, --json all")


def _list(console: Console, entries: Sequence[ForeignEntry]) -> None:
    grid = Grid("ms", "key", box=None, pad_edge=False)
    for entry in entries:
        grid.add_row(f"{entry.ms:.6g}", entry.key)
    print_unwrapped(console, grid)


def _show_comparison(console: Console, found: ForeignComparison) -> None:
    console.print(f"A {found.a}   B {found.b}", markup=False)
    console.print(f"in both {found.common}, only A {len(found.only_a)}, only B {len(found.only_b)}")
    console.print(
        f"B / A: median {found.ratio_median:.3f}, geometric mean {found.ratio_geometric_mean:.3f}, "
        f"5th to 95th percentile {found.ratio_p5:.3f} to {found.ratio_p95:.3f}, {found.ratio_min:.3f} to {found.ratio_max:.3f}"
    )
    if found.spearman is None or found.kendall is None:
        console.print("rank correlation: it needs three common keys, and different values in both tables")
    else:
        console.print(f"rank correlation: Spearman {found.spearman:.4f}, Kendall {found.kendall:.4f}")
    grid = Grid("A ms", "B ms", "B / A", "key", title="farthest from the median ratio", box=None, pad_edge=False)
    for one in found.extremes:
        grid.add_row(f"{one.a_ms:.4g}", f"{one.b_ms:.4g}", f"{one.ratio:.3f}", one.key)
    print_unwrapped(console, grid)
