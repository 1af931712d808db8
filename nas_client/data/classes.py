"""The classes of a data set: their names, and the colours in which pictures show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORE = 255
"""The label of pixels that no loss and no metric counts."""

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""


@dataclass(frozen=True)
class Classes:
    """Names and colours by class id: the position in both."""

    names: tuple[str, ...]
    colours: tuple[Colour, ...]

    def __len__(self) -> int:
        return len(self.names)

    def id_of(self, name: str) -> int:
        """The id of the class of that name."""
        return self.names.index(name)

    def paint(self, labels: NDArray[np.integer]) -> NDArray[np.uint8]:
        """A picture of the labels, ignored pixels black. Shape: (…, H, W) to (…, H, W, 3)."""
        palette = np.zeros((IGNORE + 1, 3), dtype=np.uint8)
        palette[: len(self)] = self.colours
        picture: NDArray[np.uint8] = palette[labels]
        return picture


def _classes(colours: dict[str, Colour]) -> Classes:
    return Classes(tuple(colours), tuple(colours.values()))


CITYSCAPES = _classes(
    {
        "road": (128, 64, 128),
        "sidewalk": (244, 35, 232),
        "building": (70, 70, 70),
        "wall": (102, 102, 156),
        "fence": (190, 153, 153),
        "pole": (153, 153, 153),
        "traffic light": (250, 170, 30),
        "traffic sign": (220, 220, 0),
        "vegetation": (107, 142, 35),
        "terrain": (152, 251, 152),
        "sky": (70, 130, 180),
        "person": (220, 20, 60),
        "rider": (255, 0, 0),
        "car": (0, 0, 142),
        "truck": (0, 0, 70),
        "bus": (0, 60, 100),
        "train": (0, 80, 100),
        "motorcycle": (0, 0, 230),
        "bicycle": (119, 11, 32),
    }
)
"""The 19 classes of Cityscapes' benchmark, by train id. BDD100K has the same."""

CAMVID = _classes(
    {
        "sky": (128, 128, 128),
        "building": (128, 0, 0),
        "pole": (192, 192, 128),
        "road": (128, 64, 128),
        "pavement": (0, 0, 192),
        "tree": (128, 128, 0),
        "sign": (192, 128, 128),
        "fence": (64, 64, 128),
        "car": (64, 0, 128),
        "pedestrian": (64, 64, 0),
        "bicyclist": (0, 128, 192),
    }
)
"""The 11 classes into which segmentation papers group CamVid's 32 (SegNet, Badrinarayanan et al. 2015)."""
