"""`draw`: an architecture as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.spec.architectures import ArchitectureSpec
from models.terminal import Json, emit


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
