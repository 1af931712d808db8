"""A data set: discs on a ground, drawn when they are read."""

import numpy as np

from nas_client.data.base import SPLITS, Sample, SegmentationDataset
from nas_client.data.classes import Classes


class Discs(SegmentationDataset):
    """A bright and a dark disc per image; where they overlap, the bright one lies above."""

    name = "discs"
    classes = Classes(("ground", "dark", "bright"), ((128, 128, 128), (0, 0, 128), (255, 255, 0)))

    def __init__(self, size, images, seed):
        self._size, self._images, self._seed = size, images, seed

    @classmethod
    def open(cls, settings, split):
        return cls(settings.image_size, settings.images(split), (settings.seed, SPLITS.index(split)))

    def __len__(self):
        return self._images

    def read(self, index):
        if not 0 <= index < self._images:
            raise IndexError(f"index {index} of {self._images} images")
        rng = np.random.default_rng([*self._seed, index])
        rows, columns = np.mgrid[: self._size[0], : self._size[1]]
        labels = np.zeros(self._size, np.uint8)
        for label in (1, 2):
            row, column = rng.uniform(0, self._size)
            labels[(rows - row) ** 2 + (columns - column) ** 2 < (min(self._size) / 4) ** 2] = label
        brightness = np.array([128, 40, 220])[labels] + rng.normal(0, 10, self._size)
        image = np.repeat(brightness.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
        return Sample(image, labels)

    def check(self, progress=None):
        """Nothing can be wrong with what is drawn here."""
