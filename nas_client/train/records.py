"""What a training tells of itself, while it goes on and at its end."""

from __future__ import annotations

from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record
from nas_client.train.config import TrainConfig
from nas_client.train.metrics import SegmentationMetrics


class Recipe(Record):
    """All that a training follows from; it is resumed with the same.

    Attributes:
        architecture, config: of the training.
        teacher, start: digests of the teacher's and of the given first weights; None where there are none.
    """

    architecture: ArchitectureSpec
    config: TrainConfig
    teacher: str | None = None
    start: str | None = None


class EpochRecord(Record):
    """One epoch: means over its steps, and the validation at its end.

    Attributes:
        epoch: counted from 1.
        steps: done so far.
        lr: of the last step.
        loss: the sum of the terms.
        segmentation, auxiliary, distillation: terms of the loss, weighted.
        gradient_norm: before clipping.
        validation: on the validation images; None where there was none.
        best: whether these weights are the best so far.
        seconds: that the epoch took, its validation included.
    """

    epoch: int
    steps: int
    lr: float
    loss: float
    segmentation: float
    auxiliary: float
    distillation: float
    gradient_norm: float
    validation: SegmentationMetrics | None
    best: bool
    seconds: float


class TrainResult(Record):
    """How a training ended.

    Attributes:
        architecture: key of the network's.
        finished: whether all epochs are done; otherwise it was asked to stop, and can be resumed.
        epochs, steps: done.
        best_epoch: with the highest mIoU on the validation images, the first of equals; None before the first validation.
        best: the metrics of that epoch.
        final: the metrics of the last epoch.
    """

    architecture: str
    finished: bool
    epochs: int
    steps: int
    best_epoch: int | None
    best: SegmentationMetrics | None
    final: SegmentationMetrics | None
