"""Training images that are held out."""

from __future__ import annotations

import numpy as np
import pytest

from nas_client.data.base import DataSettings
from nas_client.data.datasets import open_dataset
from nas_client.data.parts import held_out_split
from nas_client.errors import DatasetError
from nas_client.train.config import TrainConfig
from nas_client.train.data import TrainingData

SETTINGS = DataSettings(image_size=(32, 32), train_images=6, val_images=2)


def test_held_out_images_are_validated_on_and_never_trained_on() -> None:
    data = TrainingData.open(TrainConfig(data=SETTINGS, held_out=2, seed=3))
    whole = open_dataset(SETTINGS, "train")
    kept, out = held_out_split(6, 2, 3)
    assert sorted((*kept, *out)) == list(range(6))
    for part, indices in ((data.train, kept), (data.val, out)):
        assert len(part) == len(indices)
        for place, index in enumerate(indices):
            np.testing.assert_array_equal(part.sample(place).image, whole.sample(index).image)
    assert len({held_out_split(6, 2, seed) for seed in range(8)}) > 1


def test_none_held_out_validates_on_the_validation_split() -> None:
    data = TrainingData.open(TrainConfig(data=SETTINGS))
    assert (len(data.train), len(data.val)) == (6, 2)


def test_not_all_can_be_held_out() -> None:
    with pytest.raises(DatasetError, match="held_out: 6, of 6 training images"):
        held_out_split(6, 6, 0)
