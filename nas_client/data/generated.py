"""Data sets whose images are drawn when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

import numpy as np

from nas_client.data.base import SPLITS, CheckProgress, DataSettings, Sample, SegmentationDataset, Split


class GeneratedDataset(SegmentationDataset):
    """Images that follow from seed, split, size and index."""

    def __init__(self, size: tuple[int, int], images: int, seed: int, split: Split) -> None:
        self._size = size
        self._images = images
        self._stream = (seed, SPLITS.index(split))

    @classmethod
    def open(cls, settings: DataSettings, split: Split) -> Self:
        return cls(settings.image_size, settings.images(split), settings.seed, split)

    @classmethod
    @abstractmethod
    def draw(cls, size: tuple[int, int], rng: np.random.Generator) -> Sample:
        """An image of that height and width; all that is random in it comes from the generator."""

    def __len__(self) -> int:
        return self._images

    def read(self, index: int) -> Sample:
        if not 0 <= index < self._images:
            raise IndexError(f"index {index} of {self._images} images")
        return self.draw(self._size, np.random.default_rng([*self._stream, index]))

    def stored_size(self, index: int) -> tuple[int, int]:
        return self._size

    def check(self, progress: CheckProgress | None = None) -> None:
        """Nothing can be wrong with what is drawn here."""
