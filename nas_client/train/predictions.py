"""Predictions for whole images of any size, and how good they are: pixel accuracy and intersection over union.

All metrics come from one confusion matrix. A class that occurs neither in the labels nor in the predictions has no value, and
is left out of means.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from models.networks.module import Network, build_network
from models.spaces.registry import plan_at, space_of
from models.spec.architectures import ArchitectureSpec, InputSize
from models.spec.base import Record
from nas_client.data.base import SegmentationDataset
from nas_client.data.classes import IGNORE
from nas_client.data.loading import Share, evaluation_batches
from nas_client.data.transforms import EvaluationTransform
from nas_client.errors import ShapeError
from nas_client.train.weights import channels_last


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


_KEPT_NETWORKS = 16


class Predictor:
    """A trained network, built for the sizes of image that it meets, over one copy of its weights; the last 16 are kept.

    Sides that the search space cannot divide are filled up with the mean colour at the bottom and on the right, and the
    predictions cut back.

    Args:
        architecture: of the network.
        weights: its state.
        device: where it computes; images may be elsewhere.
    """

    def __init__(self, architecture: ArchitectureSpec, weights: Mapping[str, Tensor], device: torch.device) -> None:
        self._architecture, self.device = architecture, device
        self._weights = {name: channels_last(tensor.to(device)) for name, tensor in weights.items()}
        self._multiple = space_of(architecture).size_multiple
        self._networks: dict[InputSize, Network] = {}

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Class ids, on the predictor's device. Shape: (N, 3, H, W) to (N, H, W)."""
        return self.scores(images).argmax(dim=1)

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Class scores, on the predictor's device. Shape: (N, 3, H, W) to (N, classes, H, W)."""
        height, width = images.shape[2:]
        below, beside = -height % self._multiple, -width % self._multiple
        filled = channels_last(functional.pad(images.to(self.device), (0, beside, 0, below)))
        scores: Tensor = self._network((height + below, width + beside))(filled)
        return scores[..., :height, :width]

    def _network(self, size: InputSize) -> Network:
        network = self._networks.pop(size, None)
        if network is None:
            with torch.device("meta"):
                network = build_network(plan_at(self._architecture, size))
            network.load_state_dict(self._weights, assign=True)
            network.eval()
        self._networks[size] = network
        if len(self._networks) > _KEPT_NETWORKS:
            del self._networks[next(iter(self._networks))]
        return network


def confusion(
    predictor: Predictor,
    dataset: SegmentationDataset,
    *,
    image_scale: float = 1.0,
    batch_size: int = 1,
    workers: int = 0,
    share: Share | None = None,
) -> ConfusionMatrix:
    """Predictions against labels, over all images or a process's share of them; see `evaluation_batches`."""
    matrix = ConfusionMatrix(len(dataset.classes), device=predictor.device)
    batches = evaluation_batches(dataset, EvaluationTransform(image_scale), batch_size=batch_size, workers=workers, share=share)
    for images, labels in batches:
        matrix.update(predictor(images), labels.to(predictor.device))
    return matrix
