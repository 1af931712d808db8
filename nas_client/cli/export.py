"""`export`: a trained network as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.terminal import Json, emit, parse_size
from nas_client.cli.options import TrainedRun, WeightsOption


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
