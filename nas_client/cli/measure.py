"""`measure`: one network, by the protocol of each table, beside the table's sum."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spec.architectures import ArchitectureSpec
from models.spec.errors import ExitCode
from models.spec.measurements import Budget
from models.terminal import Json, emit
from nas_client.cli.options import BudgetOption, Url, connect
from nas_client.cli.watching import watching


def measure(
    url: Url,
    architecture: Annotated[Path, typer.Option(metavar="A", help="JSON file with the architecture.")],
    table: Annotated[list[str], typer.Option(metavar="ID", help="Table of the service; repeatable.")],
    budget: BudgetOption = Budget.NORMAL,
    json: Json = False,
) -> None:
    """Have one network measured by the protocol of each table, and show it beside the sum of the table's entries.

    Where it fails, or a protocol measures no such networks, the reason is printed; a failure ends the command with 4.
    """
    from nas_client.measuring import measure as measure_network

    network = ArchitectureSpec.parse_json(architecture.read_bytes(), source=str(architecture))
    with connect(url) as service, watching(f"measuring {network.label()}") as watch:
        rows = [measure_network(service, network, table_id, budget, watch) for table_id in table]
    document = {"network": network.label(), "tables": rows}
    emit(document, as_json=json, text=lambda console: _show(console, rows))
    if any(row["measured_ms"] is None and not row["refused"] for row in rows):
        raise typer.Exit(ExitCode.WORKLOADS_FAILED)


def _show(console: Console, rows: list[dict[str, Any]]) -> None:
    grid = Grid("protocol", box=None, pad_edge=False)
    for heading in ("measured (ms)", "sum (ms)", "error"):
        grid.add_column(heading, justify="right")
    for row in rows:
        measured = "none" if row["measured_ms"] is None else f"{row['measured_ms']:.4f}"
        grid.add_row(row["protocol"], measured, f"{row['sum_ms']:.4f}", "" if row["error"] is None else f"{row['error']:+.2%}")
    console.print(grid)
    for row in rows:
        if row["message"]:
            console.print(f"{row['protocol']}: {row['message']}", markup=False)
