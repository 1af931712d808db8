"""`diff`: two tables side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spec.table_files import read_table
from models.spec.tables import Table
from models.terminal import Json, emit
from profiler_service.cli.options import Database
from profiler_service.cli.runtime import open_existing_store
from profiler_service.comparison import TableComparison, compare
from profiler_service.settings import Settings

TableName = Annotated[str, typer.Argument(help="A table file in any export format, or the id of a table in the database.")]


def diff(a: TableName, b: TableName, database: Database = None, json: Json = False) -> None:
    """Compare table B with table A: what only one has, and how far the values are apart."""
    settings = Settings.load(database=database)
    comparison = compare(_load(a, settings), _load(b, settings))
    emit(comparison, as_json=json, text=lambda console: _show(console, comparison))


def _load(name: str, settings: Settings) -> Table:
    path = Path(name)
    if path.exists() or path.suffix:
        return read_table(path)
    with open_existing_store(settings) as store:
        return store.table(name)


def _show(console: Console, found: TableComparison) -> None:
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
    grid = Grid("largest differences", "A ms", "B ms", "B against A", box=None, pad_edge=False)
    for entry in found.worst:
        grid.add_row(entry.label, f"{entry.a_ms:.4f}", f"{entry.b_ms:.4f}", f"{entry.relative:+.1%}")
    console.print(grid)
