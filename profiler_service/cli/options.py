"""Options that several commands share, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.spec.measurements import Budget
from models.spec.wire import Rebuild

Database = Annotated[
    Path | None, typer.Option(metavar="F", help="SQLite file of tables and jobs.", show_default="lut_data/opclock.sqlite")
]
Backend = Annotated[str | None, typer.Option(metavar="NAME", help="Runtime that measures.", show_default="onnxruntime")]
Threads = Annotated[int | None, typer.Option(min=1, max=256, help="CPU threads of one engine.", show_default="1")]
Core = Annotated[int | None, typer.Option(min=0, help="CPU core to pin timing to.", show_default="the last one")]
RebuildOption = Annotated[
    Rebuild,
    typer.Option(
        "--rebuild",
        help="Whether 5 % of the entries asked for are built three times from scratch, to report how much builds differ; "
        "auto: for a whole grid, unless the budget is quick.",
    ),
]
BudgetOption = Annotated[Budget, typer.Option("--budget", help="How much time to spend for how much certainty.")]
WaitForQuiet = Annotated[
    float | None,
    typer.Option(
        "--wait-for-quiet",
        metavar="MINUTES",
        min=0,
        max=10_080,
        help="Wait so long for other work on this machine to end; then measure in any case.",
        show_default="do not wait",
    ),
]
Remeasure = Annotated[bool, typer.Option("--remeasure", help="Measure again what the table holds already.")]
Fdr = Annotated[
    str, typer.Option(metavar="RATE", help="False-discovery rate: expected share of chance among what is called significant.")
]
