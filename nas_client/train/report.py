"""The files of an evaluation."""

from __future__ import annotations

import csv
from pathlib import Path

from nas_client.train.evaluation import Evaluated
from nas_client.train.pictures import prediction_grid

EVALUATION, CONFUSION, PREDICTIONS = "evaluation.json", "confusion.csv", "predictions.png"


def write_evaluation(evaluated: Evaluated, folder: Path, *, pictures: int) -> None:
    """`evaluation.json`, `confusion.csv` (labelled classes in rows), and `predictions.png` with that many images.

    Raises:
        OSError: the folder cannot be made or written.
    """
    evaluation, dataset = evaluated.evaluation, evaluated.dataset
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EVALUATION).write_text(evaluation.model_dump_json(indent=2) + "\n", encoding="utf-8")
    with (folder / CONFUSION).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["labelled as", *(f"predicted {name}" for name in evaluation.classes)])
        for name, counts in zip(evaluation.classes, evaluated.confusion.tolist(), strict=True):
            writer.writerow([name, *counts])
    grid = prediction_grid(evaluated.predictor, dataset, images=pictures, image_scale=evaluation.image_scale)
    grid.save(folder / PREDICTIONS)
