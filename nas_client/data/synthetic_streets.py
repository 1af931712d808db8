"""`synthetic_streets`: generated street scenes with the 19 classes of Cityscapes, for when there are no files.

Each scene is a view along a street through a pinhole camera: the same kind of thing is seen at many sizes, poles, fences and
bicycles are a pixel or two thin, and colour says little about the class. Made so that the resolution at which a network works,
how far it sees, and how wide it is have something to gain in mIoU.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from nas_client.data.base import SPLITS, CheckProgress, DataSettings, Sample, SegmentationDataset, Split
from nas_client.data.classes import CITYSCAPES
from nas_client.data.streets.scene import draw_scene


class SyntheticStreets(SegmentationDataset):
    """Scenes that follow from seed, split, size and index, and are drawn whenever they are asked for."""

    name = "synthetic_streets"
    classes = CITYSCAPES

    def __init__(self, size: tuple[int, int], images: int, seed: int, split: Split) -> None:
        self._size = size
        self._images = images
        self._stream = (seed, SPLITS.index(split))

    @classmethod
    def open(cls, settings: DataSettings, split: Split) -> Self:
        return cls(settings.image_size, settings.images(split), settings.seed, split)

    def __len__(self) -> int:
        return self._images

    def read(self, index: int) -> Sample:
        if not 0 <= index < self._images:
            raise IndexError(f"index {index} of {self._images} images")
        return draw_scene(self._size, np.random.default_rng([*self._stream, index]))

    def check(self, progress: CheckProgress | None = None) -> None:
        """Nothing can be wrong with what is drawn here."""
