from __future__ import annotations

import numpy as np
import pytest

from nas_client.data.base import DataSettings, Sample
from nas_client.data.classes import IGNORE
from nas_client.data.datasets import open_dataset
from nas_client.testing import DatasetSuite

IMAGES = 40


class TestSyntheticPets(DatasetSuite):
    settings = DataSettings(name="synthetic_pets", image_size=(32, 48), train_images=4, val_images=2, test_images=2)


@pytest.fixture(scope="module")
def pets() -> list[Sample]:
    dataset = open_dataset(DataSettings(name="synthetic_pets", image_size=(96, 128)), "train")
    return [dataset.sample(index) for index in range(IMAGES)]


def test_an_image_follows_from_seed_split_and_index(pets: list[Sample]) -> None:
    settings = DataSettings(name="synthetic_pets", image_size=(96, 128))
    again, other = open_dataset(settings, "train").sample(3), open_dataset(settings, "val").sample(3)
    assert all(np.array_equal(mine, yours) for mine, yours in zip(pets[3], again, strict=True))
    assert not np.array_equal(pets[3].labels, other.labels)


def test_one_animal_in_each_image_behind_a_thin_outline_that_does_not_count(pets: list[Sample]) -> None:
    for image, labels in pets:
        assert [image.shape, labels.shape] == [(96, 128, 3), (96, 128)]
        assert image.dtype == labels.dtype == np.uint8
        assert set(np.unique(labels)) == {0, 1, IGNORE}
        beside = (labels[:, 1:] == 1) & (labels[:, :-1] == 0)
        assert not beside.any(), "animal and ground touch"
    animal, outline = (np.mean([(labels == value).mean() for _, labels in pets]) for value in (1, IGNORE))
    assert 0.03 < animal < 0.4
    assert 0 < outline < 0.15


def test_colour_alone_says_little_about_the_class(pets: list[Sample]) -> None:
    """The best guess from a pixel's colour, learnt on half of the images, finds few of the animal's pixels in the others."""
    colours = np.stack([image // 32 for image, _ in pets]).astype(np.int64) @ np.array([64, 8, 1])
    labels = np.stack([labels for _, labels in pets])
    counts = np.zeros((512, 2))
    half = IMAGES // 2
    for value in (0, 1):
        np.add.at(counts[:, value], colours[:half][labels[:half] == value], 1)
    guess = counts.argmax(axis=1)[colours[half:]] == 1
    right = guess & (labels[half:] == 1)
    either = (guess & (labels[half:] != IGNORE)) | (labels[half:] == 1)
    assert right.sum() / either.sum() < 0.3
