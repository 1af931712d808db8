"""The images of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch.utils.data import DataLoader

from nas_client.data.base import CheckProgress, SegmentationDataset
from nas_client.data.datasets import open_dataset
from nas_client.data.loading import Share, require_one_size, training_batches
from nas_client.data.parts import PartOfDataset, held_out_split
from nas_client.data.transforms import Batch, TrainTransform
from nas_client.train.config import TrainConfig


@dataclass(frozen=True)
class TrainingData:
    """What is trained on, and what is validated on. Several trainings may share them, and what they cache."""

    train: SegmentationDataset
    val: SegmentationDataset

    @classmethod
    def open(cls, config: TrainConfig) -> Self:
        """Both splits; with `held_out`, two parts of the training images. Raises DatasetError, UnknownNameError."""
        images = open_dataset(config.data, "train")
        if config.held_out is None:
            return cls(images, open_dataset(config.data, "val"))
        parts = held_out_split(len(images), config.held_out, config.seed)
        return cls(*(PartOfDataset(images, part) for part in parts))

    def require_batches(self, validation_batch: int) -> None:
        """Raises DatasetError where the images for validation are of different sizes, but so many are predicted at once."""
        require_one_size(self.val, validation_batch, "validation.batch_size")

    def check(self, progress: CheckProgress | None = None) -> None:
        """Look at every image and label. Raises DatasetError."""
        self.train.check(progress)
        self.val.check(progress)


def epoch_batches(
    data: TrainingData,
    config: TrainConfig,
    epoch: int,
    *,
    skip: int = 0,
    share: Share | None = None,
    pin_memory: bool = False,
) -> DataLoader[Batch]:
    """One epoch's batches, augmented as configured; see `training_batches`. Raises DatasetError."""
    transform = TrainTransform(config.crop_size, config.image_scale, config.scales, config.flip, config.label_stride)
    return training_batches(
        data.train,
        transform,
        batch_size=config.batch_size,
        seed=config.seed,
        epoch=epoch,
        skip=skip,
        share=share,
        workers=config.workers,
        pin_memory=pin_memory,
    )
