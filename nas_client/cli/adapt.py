"""`adapt`: an architecture for other classes and other sizes of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.terminal import Json, emit, parse_size


def adapt(
    architecture: Annotated[Path, typer.Option(metavar="A", help="JSON file with the architecture.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="F", help="JSON file to write.")],
    classes: Annotated[
        int | None, typer.Option(metavar="N", help="Number of classes; by default the data set's, or the architecture's own.")
    ] = None,
    input_size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Size of the images; by default the architecture's own.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="Data set that it will be trained on, such as camvid.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of that data set; only `folder` needs it here, for its classes.")
    ] = None,
    json: Json = False,
) -> None:
    """Move an architecture to other classes and another size of images: the same choices, trained anew.

    `train --pretrained RUN` starts that training with the weights of an earlier one.
    """
    from models.spaces.registry import read_architecture
    from nas_client.data.base import DataSettings
    from nas_client.data.datasets import labelling_of
    from nas_client.train.run import require_classes
    from nas_client.train.transfer import adapted

    if classes is None and input_size is None and dataset is None:
        raise typer.BadParameter("there is nothing to adapt: give --classes, --data or --input-size")
    if root is not None and dataset is None:
        raise typer.BadParameter("--root is a data set's folder: give --data as well")
    labels = None if dataset is None else len(labelling_of(DataSettings(name=dataset, root=root)).classes)
    size = None if input_size is None else parse_size(input_size)
    network = read_architecture(architecture.read_bytes(), str(architecture))
    moved = adapted(network, classes=labels if classes is None else classes, input_size=size)
    if dataset is not None and labels is not None:
        require_classes(moved, dataset, labels)
    output.write_text(moved.model_dump_json(indent=2) + "\n", encoding="utf-8")
    height, width = moved.input_size
    sentence = f"{moved.classes} classes at {height}×{width}: {moved.label()}, written to {output}"
    result = {"architecture": moved.key(), "classes": moved.classes, "input_size": moved.input_size, "path": str(output)}
    emit(result, as_json=json, text=lambda console: console.print(sentence, markup=False))
