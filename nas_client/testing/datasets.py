"""What every data set must satisfy. Its own test class derives from `DatasetSuite` and says how it is opened."""

from __future__ import annotations

import numpy as np
import pytest

from models.spec.errors import UnknownNameError
from nas_client.data.base import SPLITS, DataSettings, SegmentationDataset
from nas_client.data.classes import IGNORE
from nas_client.data.datasets import DATASETS, dataset_names, open_dataset
from nas_client.errors import DatasetError


class DatasetSuite:
    """The suite.

    Attributes:
        settings: the data set, small enough to be read entirely.
    """

    settings: DataSettings

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> SegmentationDataset:
        """Its first split with labels."""
        return open_dataset(cls.settings, DATASETS.get(cls.settings.name).splits[0])

    def test_the_data_set_is_known_by_its_name(self, dataset: SegmentationDataset) -> None:
        assert dataset.name == self.settings.name
        assert dataset.name in dataset_names()
        with pytest.raises(UnknownNameError, match="unknown data set"):
            open_dataset(self.settings.model_copy(update={"name": f"{dataset.name}?"}), "train")

    def test_classes_have_names_and_colours_of_their_own(self, dataset: SegmentationDataset) -> None:
        classes = dataset.classes
        assert 1 < len(set(classes.names)) == len(set(classes.colours)) == len(classes) < IGNORE

    def test_every_split_has_images_or_is_refused(self) -> None:
        with_labels = DATASETS.get(self.settings.name).splits
        assert with_labels
        for split in SPLITS:
            if split in with_labels:
                assert len(open_dataset(self.settings, split)) > 0
            else:
                with pytest.raises(DatasetError, match=f"no labels for its {split} split"):
                    open_dataset(self.settings, split)

    def test_samples_are_images_with_labels_of_the_classes(self, dataset: SegmentationDataset) -> None:
        for index in range(len(dataset)):
            image, labels = dataset.sample(index)
            assert {image.dtype, labels.dtype} == {np.dtype(np.uint8)}
            assert image.shape == (*labels.shape, 3)
            assert dataset.stored_size(index) in (None, labels.shape)
            assert set(np.unique(labels)) <= {*range(len(dataset.classes)), IGNORE}

    def test_some_pixels_count(self, dataset: SegmentationDataset) -> None:
        assert any((dataset.sample(index).labels != IGNORE).any() for index in range(len(dataset)))

    def test_a_sample_is_the_same_at_every_call(self, dataset: SegmentationDataset) -> None:
        again = open_dataset(self.settings, DATASETS.get(self.settings.name).splits[0])
        for index in range(min(3, len(dataset))):
            for one, other in zip(dataset.read(index), again.read(index), strict=True):
                np.testing.assert_array_equal(one, other)

    def test_an_index_beyond_the_end_is_refused(self, dataset: SegmentationDataset) -> None:
        with pytest.raises(IndexError):
            dataset.read(len(dataset))

    def test_the_check_finds_nothing(self, dataset: SegmentationDataset) -> None:
        dataset.check()
