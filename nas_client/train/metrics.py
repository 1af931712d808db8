"""How well labels are predicted: pixel accuracy and intersection over union, from one confusion matrix.

Classes that occur neither in the labels nor in the predictions have no value, and are left out of means.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.spec.base import Record
from nas_client.data.classes import IGNORE
from nas_client.errors import ShapeError


class SegmentationMetrics(Record):
    """Fractions between 0 and 1; None for what never occurred.

    Attributes:
        pixel_accuracy: PA, share of labelled pixels predicted right (M-FasterSeg eq. 16).
        mean_pixel_accuracy: mPA, the mean of `class_accuracy` (eq. 17).
        mean_iou: mIoU, the mean of `class_iou` (eq. 18).
        class_accuracy: by class, share of its pixels predicted right.
        class_iou: by class, intersection of labelled and predicted pixels over their union.
        pixels: how many labelled pixels were counted.
    """

    pixel_accuracy: float | None
    mean_pixel_accuracy: float | None
    mean_iou: float | None
    class_accuracy: tuple[float | None, ...]
    class_iou: tuple[float | None, ...]
    pixels: int


class ConfusionMatrix:
    """Pixels by labelled class (row) and predicted class (column), summed over batches.

    Attributes:
        counts: int64; processes add theirs up to get everyone's. Shape: (classes, classes).
    """

    def __init__(self, classes: int, *, device: torch.device | str | None = None) -> None:
        self.counts = torch.zeros(classes, classes, dtype=torch.int64, device=device)

    def update(self, predicted: Tensor, labels: Tensor) -> None:
        """Count a batch; ignored pixels do not count.

        Args:
            predicted: class ids. Shape: any.
            labels: class ids or `IGNORE`. Shape: as predicted.

        Raises:
            ShapeError: names both shapes.
        """
        if predicted.shape != labels.shape:
            raise ShapeError(f"predictions have shape {tuple(predicted.shape)}, labels {tuple(labels.shape)}")
        classes = len(self.counts)
        counted = labels != IGNORE
        pairs = labels[counted].to(torch.int64) * classes + predicted[counted].to(torch.int64)
        self.counts += torch.bincount(pairs, minlength=classes**2).view(classes, classes)

    def metrics(self) -> SegmentationMetrics:
        """What the counts say so far."""
        return segmentation_metrics(self.counts)


def segmentation_metrics(counts: Tensor) -> SegmentationMetrics:
    """All metrics of a confusion matrix. Shape: (classes, classes), labelled classes in rows."""
    exact = counts.to("cpu", torch.float64)
    right, labelled, predicted = exact.diagonal(), exact.sum(dim=1), exact.sum(dim=0)
    pixels = int(counts.sum())
    accuracies, ious = _shares(right, labelled), _shares(right, labelled + predicted - right)
    return SegmentationMetrics(
        pixel_accuracy=float(right.sum()) / pixels if pixels else None,
        mean_pixel_accuracy=_mean(accuracies),
        mean_iou=_mean(ious),
        class_accuracy=accuracies,
        class_iou=ious,
        pixels=pixels,
    )


def _shares(parts: Tensor, wholes: Tensor) -> tuple[float | None, ...]:
    return tuple(part / whole if whole else None for part, whole in zip(parts.tolist(), wholes.tolist(), strict=True))


def _mean(values: tuple[float | None, ...]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
