from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nas_client.data.base import DataSettings, Sample, SegmentationDataset, Split
from nas_client.data.classes import CITYSCAPES
from nas_client.data.datasets import open_dataset


def _open(split: Split = "train", **chosen: object) -> SegmentationDataset:
    return open_dataset(DataSettings.parse({"image_size": (96, 192), **chosen}), split)


def _same(first: Sample, second: Sample) -> bool:
    return all(np.array_equal(mine, yours) for mine, yours in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def scenes() -> NDArray[np.uint8]:
    """Labels of sixty scenes. Shape: (60, 96, 192)."""
    dataset = _open()
    return np.stack([dataset.sample(index).labels for index in range(60)])


def test_a_scene_follows_from_seed_split_and_index_alone() -> None:
    scene = _open().sample(3)
    again = _open(train_images=7)
    again.sample(0)  # what was drawn before makes no difference
    assert _same(scene, again.sample(3))
    assert not _same(scene, again.sample(4))
    assert not _same(scene, _open(seed=1).sample(3))
    assert not _same(scene, _open("val").sample(3))


def test_scenes_have_the_size_asked_for_and_every_pixel_a_class() -> None:
    for size in ((96, 192), (64, 64), (130, 67)):
        image, labels = _open(image_size=size).sample(0)
        assert [image.shape, labels.shape] == [(*size, 3), size]
        assert image.dtype == labels.dtype == np.uint8
        assert labels.max() < len(CITYSCAPES)


def test_there_are_as_many_images_as_asked_for() -> None:
    dataset = _open("val", val_images=2)
    assert len(dataset) == 2
    with pytest.raises(IndexError, match="index 2 of 2 images"):
        dataset.sample(2)


def test_all_classes_occur_and_none_fills_the_picture(scenes: NDArray[np.uint8]) -> None:
    shares = np.bincount(scenes.ravel(), minlength=19) / scenes.size
    assert shares.min() > 5e-4
    assert shares.max() < 0.5


def test_things_of_a_class_are_seen_at_many_sizes(scenes: NDArray[np.uint8]) -> None:
    """Resolution matters only if near and far things both do."""
    heights = [np.flatnonzero((scene == CITYSCAPES.id_of("car")).any(axis=1)).size for scene in scenes]
    seen = [height for height in heights if height]
    assert max(seen) > 6 * min(seen)


def test_poles_and_bicycles_are_thin(scenes: NDArray[np.uint8]) -> None:
    """Most of their rows are at most three pixels wide: lost at an eighth of the resolution."""
    for name in ("pole", "bicycle"):
        padded = np.pad(scenes == CITYSCAPES.id_of(name), ((0, 0), (0, 0), (1, 1))).astype(np.int8)
        edges = np.diff(padded.reshape(-1, padded.shape[-1]), axis=1)
        widths = np.argwhere(edges == -1)[:, 1] - np.argwhere(edges == 1)[:, 1]
        assert np.median(widths) <= 3


def test_colour_alone_says_little_about_the_class(scenes: NDArray[np.uint8]) -> None:
    """The best guess from a pixel's colour is far from right: shapes and surroundings are needed."""
    dataset = _open()
    colours = np.concatenate([dataset.sample(index).image.reshape(-1, 3) // 32 for index in range(60)]).astype(np.int64)
    table = np.zeros((512, 19), dtype=np.int64)
    np.add.at(table, (colours @ np.array([64, 8, 1]), scenes.ravel()), 1)
    right = np.bincount(table.argmax(axis=1), weights=table.max(axis=1), minlength=19)
    predicted = np.bincount(table.argmax(axis=1), weights=table.sum(axis=1), minlength=19)
    iou = right / (table.sum(axis=0) + predicted - right)
    assert iou.mean() < 0.25
