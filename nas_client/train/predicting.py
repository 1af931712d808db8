"""Predictions for whole images of any size, and how good they are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from models.networks.module import Network, build_network
from models.spaces.registry import plan_at, space_class
from models.spec.architectures import ArchitectureSpec, InputSize
from nas_client.data.base import SegmentationDataset
from nas_client.data.loading import Share, evaluation_batches
from nas_client.data.transforms import EvaluationTransform
from nas_client.train.layout import channels_last
from nas_client.train.metrics import ConfusionMatrix


class Predictor:
    """A trained network, built anew for every size of image that it meets, over one copy of its weights.

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
        self._multiple = space_class(architecture.space).size_multiple
        self._networks: dict[InputSize, Network] = {}

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Class ids, on the predictor's device. Shape: (N, 3, H, W) to (N, H, W)."""
        height, width = images.shape[2:]
        below, beside = -height % self._multiple, -width % self._multiple
        filled = channels_last(functional.pad(images.to(self.device), (0, beside, 0, below)))
        scores: Tensor = self._network((height + below, width + beside))(filled)
        return scores[..., :height, :width].argmax(dim=1)

    def _network(self, size: InputSize) -> Network:
        if size not in self._networks:
            with torch.device("meta"):
                network = build_network(plan_at(self._architecture, size))
            network.load_state_dict(self._weights, assign=True)
            self._networks[size] = network.eval()
        return self._networks[size]


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
