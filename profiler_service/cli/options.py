"""Options that several commands share, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.spec.measurements import Budget, ProtocolName

Database = Annotated[
    Path | None, typer.Option(metavar="F", help="SQLite file of tables and jobs. [default: lut_data/opclock.sqlite]")
]
Backend = Annotated[str | None, typer.Option(metavar="NAME", help="Runtime that measures. [default: onnxruntime]")]
Threads = Annotated[int | None, typer.Option(min=1, max=256, help="CPU threads of one engine. [default: 1]")]
Core = Annotated[int | None, typer.Option(min=0, help="CPU core to pin timing to. [default: the last one]")]
BudgetOption = Annotated[Budget, typer.Option("--budget", help="How much time to spend for how much certainty.")]
ProtocolOption = Annotated[ProtocolName, typer.Option("--protocol", help="How times are taken; see docs/measurement.md.")]
