"""`report`: one page about a whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.terminal import Json, emit


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder: of a search, or of several commands.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="F", help="HTML file to write.")] = Path("report.html"),
    title: Annotated[str, typer.Option(metavar="T", help="Of the page; by default the folder's name.")] = "",
    json: Json = False,
) -> None:
    """Write one HTML page, complete in itself, about everything that a run's folder holds."""
    from nas_client.report.whole import report as write

    output.write_text(write(folder, title), encoding="utf-8")
    emit({"path": str(output)}, as_json=json, text=lambda console: console.print(f"written to {output}", markup=False))
