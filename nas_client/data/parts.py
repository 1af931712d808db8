"""A part of a data set: training images that are held out, and those that are left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from nas_client.data.base import CheckProgress, DataSettings, Sample, SegmentationDataset, Split
from nas_client.errors import DatasetError

_HELD_OUT = 4
"""Stream of random numbers, apart from those of `nas_client.data.loading` and `nas_client.search.selection_images`."""


def held_out_split(images: int, held_out: int, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of the training images that stay, and of those that are held out, drawn by the seed. Both ascend.

    Raises:
        DatasetError: none would stay.
    """
    if held_out >= images:
        raise DatasetError(
            f"held_out: {held_out}, of {images} training images",
            hint=f"Set held_out to {images - 1} or fewer, or leave it out.",
        )
    order = np.random.default_rng([_HELD_OUT, seed]).permutation(images).tolist()
    return tuple(sorted(order[held_out:])), tuple(sorted(order[:held_out]))


class PartOfDataset(SegmentationDataset):
    """Some of the images of a data set.

    Args:
        whole: the data set.
        indices: of its images, in order.
    """

    name = "part"

    def __init__(self, whole: SegmentationDataset, indices: Sequence[int]) -> None:
        self._whole, self._indices = whole, tuple(indices)
        self.name, self.classes = whole.name, whole.classes  # type: ignore[misc]  # elsewhere the name is the class's

    @classmethod
    def open(cls, settings: DataSettings, split: Split) -> Self:
        raise DatasetError(f"a part of {settings.name} is made of an open data set", hint="Open the whole data set.")

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, index: int) -> Sample:
        return self._whole.sample(self._indices[index])

    def stored_size(self, index: int) -> tuple[int, int] | None:
        return self._whole.stored_size(self._indices[index])

    def check(self, progress: CheckProgress | None = None) -> None:
        self._whole.check(progress)
