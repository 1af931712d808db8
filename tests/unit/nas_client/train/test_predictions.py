from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models.networks.module import build_network
from models.spaces.registry import plan_at
from nas_client.data.base import DataSettings
from nas_client.data.datasets import open_dataset
from nas_client.data.transforms import EvaluationTransform
from nas_client.train.networks import seeded_network
from nas_client.train.predictions import ConfusionMatrix, Predictor, confusion
from nas_client.train.weights import copy_of
from tests.support.trainings import small_architecture

ARCHITECTURE = small_architecture()
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return copy_of(seeded_network(ARCHITECTURE, (64, 64), auxiliary=True, seed=0).network)


def _whole(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    network = build_network(plan_at(ARCHITECTURE, (images.shape[2], images.shape[3]))).eval()
    network.load_state_dict(weights)
    with torch.no_grad():
        return network(images).argmax(dim=1)


def test_one_predictor_takes_images_of_any_size(weights: dict[str, Tensor]) -> None:
    predictor = Predictor(ARCHITECTURE, weights, CPU)
    for size in ((64, 64), (32, 96), (64, 64)):
        images = torch.randn(2, 3, *size)
        assert torch.equal(predictor(images), _whole(weights, images))


def test_networks_for_the_last_sizes_are_kept(weights: dict[str, Tensor]) -> None:
    """The oldest in use goes first."""
    predictor = Predictor(ARCHITECTURE, weights, CPU)
    sizes = [(32, 32 * (1 + index)) for index in range(16)]
    for size in (*sizes, sizes[0], (64, 32)):
        predictor(torch.zeros(1, 3, *size))
    assert set(predictor._networks) == {*sizes, (64, 32)} - {sizes[1]}


def test_sizes_that_cannot_be_divided_are_filled_up(weights: dict[str, Tensor]) -> None:
    """At the bottom and on the right."""
    images = torch.randn(1, 3, 45, 70)
    filled = torch.zeros(1, 3, 48, 72)
    filled[..., :45, :70] = images
    assert torch.equal(Predictor(ARCHITECTURE, weights, CPU)(images), _whole(weights, filled)[:, :45, :70])


def test_pixels_are_counted_for_every_image(weights: dict[str, Tensor]) -> None:
    dataset = open_dataset(DataSettings(image_size=(48, 64), val_images=5), "val")
    predictor = Predictor(ARCHITECTURE, weights, CPU)
    expected = ConfusionMatrix(19)
    for index in range(5):
        image, labels = EvaluationTransform()(dataset.sample(index), np.random.default_rng(0))
        expected.update(predictor(image[None])[0], labels)
    for batch_size in (1, 2, 5):
        assert torch.equal(confusion(predictor, dataset, batch_size=batch_size).counts, expected.counts)
