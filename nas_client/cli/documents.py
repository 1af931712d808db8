"""`draw`, `export` and `report`: files for people and for other programs, from architectures, trainings and run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from models.terminal import Json, emit, parse_size
from nas_client.cli.arguments import TrainedRun, WeightsOption


def draw(
    architecture: Annotated[Path, typer.Option(metavar="A", help="JSON file with the architecture.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="F", help="Picture to write: F.svg, F.png or F.pdf.")],
    title: Annotated[
        str, typer.Option(metavar="T", help="Title of the picture; by default a description of the architecture.")
    ] = "",
    json: Json = False,
) -> None:
    """Draw an architecture over scales and layers: operators, widths and branches."""
    from models.spaces.registry import read_architecture
    from nas_client.drawing.picture import draw_architecture
    from nas_client.plotting import save

    network = read_architecture(architecture.read_bytes(), str(architecture))
    path = save(draw_architecture(network, title=title), output)
    result = {"architecture": network.key(), "path": str(path)}
    emit(result, as_json=json, text=lambda console: console.print(f"{network.label()} is drawn in {path}", markup=False))


def export(
    run: TrainedRun,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="F", help="File to write, such as network.onnx.")],
    weights: WeightsOption = "best",
    input_size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Size of the images; by default the architecture's own.")
    ] = None,
    result: Annotated[
        Literal["scores", "labels", "coarse"],
        typer.Option(
            help="What the file gives: scores of every pixel; the class of every pixel; or scores before the final upsampling."
        ),
    ] = "scores",
    unrolled: Annotated[
        bool,
        typer.Option(
            help="Write recurrences (of M-FasterSeg's attention) step by step rather than as scans: several times as fast in "
            "ONNX Runtime on a CPU. Not meant for a GPU."
        ),
    ] = False,
    check: Annotated[bool, typer.Option("--check/--no-check", help="First run the graph and compare it with torch.")] = True,
    json: Json = False,
) -> None:
    """Write a trained network as ONNX, with batch normalisation folded and without auxiliary heads."""
    from nas_client.train.exporting import export as write_onnx
    from nas_client.train.folder import load_trained

    size = None if input_size is None else parse_size(input_size)
    exported = write_onnx(load_trained(run, weights), output, input_size=size, result=result, unrolled=unrolled, check=check)
    checked = "not checked" if exported.error is None else f"off by {exported.error:.1e} from torch"
    emit(
        exported,
        as_json=json,
        text=lambda console: console.print(f"written to {exported.path}, {checked}", markup=False),
    )


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of one run, or of several.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="F", help="HTML file to write.")] = Path("report.html"),
    title: Annotated[str, typer.Option(metavar="T", help="Title of the page; by default the folder's name.")] = "",
    json: Json = False,
) -> None:
    """Write one self-contained HTML page about every run in a folder and the folders below."""
    from nas_client.report.page import report as write

    output.write_text(write(folder, title), encoding="utf-8")
    emit({"path": str(output)}, as_json=json, text=lambda console: console.print(f"written to {output}", markup=False))
