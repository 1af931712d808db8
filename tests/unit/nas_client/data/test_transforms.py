from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from nas_client.data.base import Sample
from nas_client.data.classes import IGNORE
from nas_client.data.transforms import EvaluationTransform, TrainTransform, denormalise, resize


def _marked(height: int, width: int) -> Sample:
    """Labels tell the position, and the red channel says the same, so that the two can be compared after a transform."""
    positions = np.arange(height * width).reshape(height, width) % 200
    return Sample(np.repeat(positions[..., None], 3, axis=2).astype(np.uint8), positions.astype(np.uint8))


def test_image_and_labels_are_flipped_and_cropped_alike() -> None:
    transform = TrainTransform((8, 12), scales=(1.0,))
    seen = set()
    for seed in range(20):
        images, labels = transform(_marked(16, 24), np.random.default_rng(seed))
        assert [images.shape, labels.shape, images.dtype, labels.dtype] == [(3, 8, 12), (8, 12), torch.float32, torch.int64]
        assert torch.equal(denormalise(images)[0].long(), labels)
        seen.add((int(labels[0, 0]), bool(labels[0, 0] < labels[0, 1])))
    assert {flipped for _, flipped in seen} == {True, False}
    assert len(seen) > 10


def test_without_flips_nothing_is_mirrored() -> None:
    transform = TrainTransform((8, 12), scales=(1.0,), flip=False)
    for seed in range(20):
        labels = transform(_marked(8, 12), np.random.default_rng(seed)).labels
        assert torch.equal(labels, torch.arange(96).view(8, 12))


def test_what_lies_outside_the_image_is_its_mean_and_ignored() -> None:
    transform = TrainTransform((12, 12), scales=(0.5,), flip=False)
    images, labels = transform(_marked(16, 16), np.random.default_rng(0))
    assert (labels[:8, :8] != IGNORE).all()
    assert (labels[8:] == IGNORE).all()
    assert (labels[:, 8:] == IGNORE).all()
    assert (images[:, 8:] == 0).all()


@pytest.mark.parametrize(("image_scale", "scale", "side"), [(1.0, 0.75, 24), (0.5, 1.0, 16), (0.5, 1.25, 20)])
def test_scales_multiply(image_scale: float, scale: float, side: int) -> None:
    """A crop larger than the image shows how large the resized image is."""
    labels = TrainTransform((40, 40), image_scale, (scale,))(_marked(32, 32), np.random.default_rng(0)).labels
    assert (labels != IGNORE).sum() == side**2


def test_half_size_images_are_averages_and_their_labels_never_mixed() -> None:
    sample = Sample(np.zeros((32, 32, 3), np.uint8), np.where(np.arange(32) < 15, 3, 9).astype(np.uint8)[None].repeat(32, 0))
    sample.image[:, ::2] = 200
    image, labels = resize(sample, 0.5)
    assert set(np.unique(labels)) == {3, 9}
    assert abs(int(image[8, 8, 0]) - 100) < 30


def test_a_label_stride_takes_the_middle_of_every_block() -> None:
    transform = EvaluationTransform(label_stride=8)
    images, labels = transform(_marked(16, 24), np.random.default_rng(0))
    assert images.shape == (3, 16, 24)
    assert labels.tolist() == [[(row * 24 + column) % 200 for column in (4, 12, 20)] for row in (4, 12)]


def test_normalising_is_that_of_imagenet() -> None:
    sample = Sample(np.full((4, 4, 3), 255, np.uint8), np.zeros((4, 4), np.uint8))
    pixel = EvaluationTransform()(sample, np.random.default_rng(0)).images[:, 0, 0]
    expected = (torch.ones(3) - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(pixel, expected)


def test_ignored_padding_reaches_the_loss_as_ignored() -> None:
    labels = TrainTransform((8, 8), scales=(0.5,))(_marked(8, 8), np.random.default_rng(0)).labels % 256
    losses = functional.cross_entropy(torch.zeros(1, 200, 8, 8), labels[None], ignore_index=IGNORE, reduction="none")
    assert (losses != 0).sum() == 16
