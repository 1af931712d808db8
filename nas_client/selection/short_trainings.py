"""Short trainings of selected networks: they rank the best again, and tell whether the supernet ranks networks at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from nas_client.data.base import SegmentationDataset
from nas_client.data.parts import PartOfDataset
from nas_client.errors import DatasetError
from nas_client.runs.manifest import is_begun
from nas_client.runs.processes import Processes
from nas_client.search.config import SearchConfig
from nas_client.selection.candidates import Candidate
from nas_client.train.config import LossConfig, TrainConfig, ValidationConfig
from nas_client.train.data import TrainingData
from nas_client.train.folder import TrainResult
from nas_client.train.run import train

TRAININGS = "trainings"
"""Folder of the short trainings, each in one that its architecture's key names."""

LEAST_CORRELATION = 0.4
"""Below this rank correlation with short trainings a supernet's ranking is not to be relied on."""

LEAST_NETWORKS = 4
"""Fewer networks than this have no rank correlation worth the name."""


def training_config(config: SearchConfig) -> TrainConfig:
    """The configuration of the short trainings: images and augmentation as in the search."""
    short = config.selection.training
    return TrainConfig(
        data=config.data,
        check_data=False,
        workers=config.workers,
        image_scale=config.image_scale,
        crop=short.crop or config.pretrain.crop,
        scales=config.scales,
        label_stride=config.label_stride,
        batch_size=short.batch_size or config.pretrain.batch_size,
        epochs=short.epochs,
        seed=config.seed,
        optimizer=short.optimizer,
        losses=LossConfig(kind=config.loss, hard_pixels=config.hard_pixels, auxiliary=0),
        validation=ValidationConfig(
            every=short.epochs,
            batch_size=config.evaluation.batch_size,
            statistics_batches=config.evaluation.statistics_batches,
        ),
        precision=config.precision,
    )


def train_shortly(
    candidates: Sequence[Candidate],
    config: SearchConfig,
    images: SegmentationDataset,
    split: tuple[Sequence[int], Sequence[int]],
    folder: Path,
    processes: Processes,
    progress: Callable[[int, int], None],
) -> dict[str, float] | None:
    """Train each network shortly: its mIoU on the images of selection, by its architecture's key.

    Args:
        candidates: the networks; trained once each.
        config: of the search.
        images: the training images.
        split: of these, which are trained on and which are for selection.
        folder: of the selection; what was trained there is not trained again.
        processes: among which each training is shared.
        progress: receives how many are done, and how many there are.

    Returns:
        None where a signal stopped a training; it goes on where it was.

    Raises:
        DatasetError: no image of selection has a label.
        DivergenceError: a loss is not a number.
    """
    data = TrainingData(*(PartOfDataset(images, part) for part in split))
    by_key = {candidate.architecture.key(): candidate.architecture for candidate in candidates}
    found: dict[str, float] = {}
    for key, architecture in by_key.items():
        progress(len(found), len(by_key))
        run = folder / TRAININGS / key
        begun = is_begun(run)
        processes.require_same(f"whether {run} holds a training", str(begun))
        result = train(architecture, training_config(config), run, data=data, resume=begun, processes=processes)
        processes.wait()
        if not result.finished:
            return None
        found[key] = mean_iou_of(result, run, images=len(data.val))
    progress(len(found), len(by_key))
    return found


def mean_iou_of(result: TrainResult, run: Path, *, images: int) -> float:
    """The mIoU of a finished short training, judged on so many images.

    Raises:
        DatasetError: none of them has a label. Networks are not ranked by what says nothing of them.
    """
    if result.final is None or result.final.mean_iou is None:
        raise DatasetError(
            f"{run}: no mIoU: none of its images of selection (selection.images: {images}) has a labelled pixel",
            hint="Set selection.images to more.",
        )
    return result.final.mean_iou


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's ρ; None of fewer than `LEAST_NETWORKS` networks, or where all of one are alike. Shape of both: (networks,)."""
    if len(one) < LEAST_NETWORKS or not (np.ptp(one) and np.ptp(other)):
        return None
    return float(spearmanr(one, other).statistic)
