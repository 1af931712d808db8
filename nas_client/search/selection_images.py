"""The images of a selection: training images that no weights are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from nas_client.data.base import CheckProgress, DataSettings, Sample, SegmentationDataset, Split
from nas_client.data.loading import split_halves
from nas_client.errors import DatasetError
from nas_client.search.config import SearchConfig

_SELECTION = 3
"""Stream of random numbers, apart from those of `nas_client.data.loading`."""


def selection_split(images: int, config: SearchConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of the training images that weights are trained on, and of those that selection looks at.

    Those of selection are a random part of trainB: a gradient search trains weights on trainA alone, so that its supernet has
    not seen them either.

    Raises:
        DatasetError: there are too few images.
    """
    second_half, wanted = split_halves(images, config.seed)[1], config.selection.images
    if wanted > len(second_half):
        raise DatasetError(
            f"selection.images: {wanted}, of {len(second_half)} images in the second half of the training images",
            hint=f"Set selection.images to {len(second_half)} or fewer.",
        )
    order = np.random.default_rng([_SELECTION, config.seed]).permutation(second_half)
    chosen = frozenset(order[:wanted].tolist())
    return tuple(index for index in range(images) if index not in chosen), tuple(sorted(chosen))


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

    def check(self, progress: CheckProgress | None = None) -> None:
        self._whole.check(progress)
