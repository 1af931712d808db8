"""`draw`, `export` and `report`: files for people and for other programs, from architectures, trainings and run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.spec.architectures import ArchitectureSpec
from models.terminal import Json, emit, parse_size
from nas_client.cli.options import TrainedRun, WeightsOption


def draw(
    architecture: Annotated[Path, typer.Option(metavar="A", help="JSON file with the architecture.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="F", help="Picture to write: F.svg, F.png or F.pdf.")],
    title: Annotated[str, typer.Option(metavar="T", help="What stands above; by default what the architecture is.")] = "",
    json: Json = False,
) -> None:
    """Draw an architecture over scales and layers: operators, widths, and where branches part."""
    from nas_client.drawing.picture import draw_architecture
    from nas_client.plotting import save

    network = ArchitectureSpec.parse_json(architecture.read_bytes(), source=str(architecture))
    path = save(draw_architecture(network, title=title), output)
    result = {"architecture": network.key(), "path": str(path)}
    emit(result, as_json=json, text=lambda console: console.print(f"{network.label()} is drawn in {path}", markup=False))


def export(
    run: TrainedRun,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="F", help="The file, such as network.onnx.")],
    weights: WeightsOption = "best",
    input_size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Of the images; by default the architecture's own.")
    ] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Run the graph and compare it with torch first.")] = True,
    json: Json = False,
) -> None:
    """Write a trained network as ONNX, batch normalisation folded, without auxiliary heads."""
    from nas_client.train.exporting import export as write_onnx
    from nas_client.train.folder import load_trained

    size = None if input_size is None else parse_size(input_size)
    exported = write_onnx(load_trained(run, weights), output, input_size=size, check=check)
    checked = "not checked" if exported.error is None else f"off by {exported.error:.1e} from torch"
    emit(
        exported,
        as_json=json,
        text=lambda console: console.print(f"written to {exported.path}, {checked}", markup=False),
    )


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder: of a search, or of several commands.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="F", help="HTML file to write.")] = Path("report.html"),
    title: Annotated[str, typer.Option(metavar="T", help="Of the page; by default the folder's name.")] = "",
    json: Json = False,
) -> None:
    """Write one HTML page, complete in itself, about everything that a run's folder holds."""
    from nas_client.report.page import report as write

    output.write_text(write(folder, title), encoding="utf-8")
    emit({"path": str(output)}, as_json=json, text=lambda console: console.print(f"written to {output}", markup=False))
