"""`predict`: what a trained network sees in images without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from models.terminal import Json, emit, progress
from nas_client.cli.arguments import TrainedRun, WeightsOption, say

if TYPE_CHECKING:
    from nas_client.train.predicting import Predicted


def predict(
    run: TrainedRun,
    images: Annotated[
        Path, typer.Option(metavar="PATH", help="An image, or a folder of images, such as the frames of a video.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for label files and overlays.")],
    weights: WeightsOption = "best",
    overlays: Annotated[
        bool, typer.Option("--overlays/--no-overlays", help="Write the images with the classes' colours over them, too.")
    ] = True,
    cityscapes: Annotated[
        Path | None, typer.Option(metavar="F", help="Write an archive for Cityscapes' benchmark, F.zip, too.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with the classes.yaml of data set `folder`; by default the training's."),
    ] = None,
    json: Json = False,
) -> None:
    """Predict images: label files in the ids, or colours, of the data set's owner, and overlays for people."""
    import torch

    from nas_client.data.datasets import labelling_of
    from nas_client.train.folder import load_trained, read_train_config
    from nas_client.train.predicting import find_images, require_labelling, write_predictions
    from nas_client.train.predictions import Predictor
    from nas_client.train.trained_classes import CLASSES, TrainedClasses

    found = find_images(images)
    trained, config = load_trained(run, weights), read_train_config(run)
    data = config.data if root is None else config.data.model_copy(update={"root": root})
    labelling = labelling_of(data)
    recorded = TrainedClasses.read(run)
    require_labelling(trained, labelling, config.data.name, recorded)
    if recorded is None:
        say(f"{run} has no {CLASSES}, since an earlier release began it: names and labels are today's of {data.name}")
    predictor = Predictor(trained.architecture, trained.weights, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    with progress() as bar:
        task = bar.add_task("images", total=len(found.images), note="")
        predicted = write_predictions(
            predictor,
            found,
            labelling,
            output,
            image_scale=config.image_scale,
            overlays=overlays,
            archive=cityscapes,
            root=data.root,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    _say_remarks(predicted)
    emit(predicted, as_json=json, text=lambda console: _show(console, predicted))


def _say_remarks(predicted: Predicted) -> None:
    from nas_client.train.cityscapes_archive import TEST_IMAGES

    if predicted.left_out:
        say(f"left out, since they are no images: {predicted.left_out} files")
    if predicted.archive is not None and predicted.images != TEST_IMAGES:
        say(f"the archive has {predicted.images} images; the benchmark's test split has {TEST_IMAGES}")


def _show(console: Console, predicted: Predicted) -> None:
    console.print(f"{predicted.images} images predicted")
    for what, where in (("labels", predicted.labels), ("overlays", predicted.overlays), ("archive", predicted.archive)):
        if where is not None:
            console.print(f"{what}: {where}", markup=False)
