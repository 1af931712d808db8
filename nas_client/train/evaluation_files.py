"""The files of an evaluation: its numbers, its confusion matrix, and a picture of images, labels and predictions."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nas_client.data.base import SegmentationDataset
from nas_client.data.classes import Classes
from nas_client.data.transforms import EvaluationTransform, denormalise
from nas_client.runs.manifest import begin_run
from nas_client.train.evaluation import Evaluated
from nas_client.train.predictions import Predictor

EVALUATION, CONFUSION, PREDICTIONS = "evaluation.json", "confusion.csv", "predictions.png"


def write_evaluation(evaluated: Evaluated, folder: Path, *, pictures: int) -> None:
    """`evaluation.json`, `confusion.csv` (labelled classes in rows), and `predictions.png` with that many images.

    Raises:
        RunFolderError: the folder holds another kind of run.
        OSError: the folder cannot be made or written.
    """
    evaluation, dataset = evaluated.evaluation, evaluated.dataset
    begin_run(folder, "evaluation")
    (folder / EVALUATION).write_text(evaluation.model_dump_json(indent=2) + "\n", encoding="utf-8")
    with (folder / CONFUSION).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["labelled as", *(f"predicted {name}" for name in evaluation.classes)])
        for name, counts in zip(evaluation.classes, evaluated.confusion.tolist(), strict=True):
            writer.writerow([name, *counts])
    grid = prediction_grid(evaluated.predictor, dataset, images=pictures, image_scale=evaluation.image_scale)
    grid.save(folder / PREDICTIONS)


HEADINGS = ("image", "label", "prediction")
NARROWEST, WIDEST = 256, 512
"""Pixels; narrower pictures are enlarged, wider ones shrunk."""

_GAP, _LINE, _INK = 4, 16, (27, 31, 36)
_LEGEND_COLUMN = 112

Pictures = tuple[NDArray[np.uint8], ...]


def prediction_grid(
    predictor: Predictor, dataset: SegmentationDataset, *, images: int, image_scale: float = 1.0
) -> Image.Image:
    """A grid of up to that many images, evenly spread over the data set."""
    count = min(images, len(dataset))
    chosen = [index * len(dataset) // count for index in range(count)]
    return _grid(list(_rows(predictor, dataset, chosen, image_scale)), dataset.classes)


def _rows(predictor: Predictor, dataset: SegmentationDataset, indices: Sequence[int], image_scale: float) -> Iterator[Pictures]:
    transform = EvaluationTransform(image_scale)
    for index in indices:
        image, labels = transform(dataset.sample(index), np.random.default_rng(0))
        predicted = predictor(image[None])[0].cpu().numpy()
        picture = denormalise(image).permute(1, 2, 0).numpy()
        yield picture, dataset.classes.paint(labels.numpy()), dataset.classes.paint(predicted)


def _grid(rows: list[Pictures], classes: Classes) -> Image.Image:
    tiles = [[_fitted(Image.fromarray(picture)) for picture in row] for row in rows]
    width = max(tile.width for row in tiles for tile in row)
    total_width = len(HEADINGS) * (width + _GAP) - _GAP
    columns = max(1, total_width // _LEGEND_COLUMN)
    legend_height = _LINE * -(-len(classes) // columns)
    height = _LINE + sum(row[0].height + _GAP for row in tiles) + legend_height
    grid = Image.new("RGB", (total_width, height), "white")
    draw = ImageDraw.Draw(grid)
    for column, heading in enumerate(HEADINGS):
        draw.text((column * (width + _GAP), 2), heading, fill=_INK)
    top = _LINE
    for row in tiles:
        for column, tile in enumerate(row):
            grid.paste(tile, (column * (width + _GAP), top))
        top += row[0].height + _GAP
    for index, (name, colour) in enumerate(zip(classes.names, classes.colours, strict=True)):
        left, line = index % columns * _LEGEND_COLUMN, top + index // columns * _LINE
        draw.rectangle((left, line + 3, left + 9, line + 12), fill=colour)
        draw.text((left + 14, line + 2), name, fill=_INK)
    return grid


def _fitted(picture: Image.Image) -> Image.Image:
    width = min(max(picture.width, NARROWEST), WIDEST)
    return picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.NEAREST)
