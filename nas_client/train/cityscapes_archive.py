"""The archive that Cityscapes' benchmark takes: a zip file of label images in the owner's label ids.

The evaluation looks for `CITY_SEQUENCE_FRAME*.png` in any folder of the archive, for each image that it knows, and compares
pixel by pixel. Ids are label ids, not train ids. Source: the owner's `evalPixelLevelSemanticLabeling.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas_client.data.classes import CITYSCAPES, Classes
from nas_client.data.datasets import Cityscapes
from nas_client.data.image_files import opened, shown_size
from nas_client.errors import DatasetError

TEST_IMAGES = 1525
"""Of the benchmark's test split."""

SIZE = (1024, 2048)

_NAME = re.compile(r"([a-z-]+_\d{6}_\d{6})(?:_leftImg8bit)?")


class Archive:
    """A zip file that has its name only when it is complete.

    Args:
        path: of the file.
        images: all that will be added.
        classes: that the network predicts.

    Raises:
        DatasetError: the classes are not the benchmark's, or an image is not: by its name or its size.
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, images: Sequence[Path], classes: Classes) -> None:
        if classes != CITYSCAPES:
            raise DatasetError(
                f"the network predicts {len(classes)} classes that are not Cityscapes' {len(CITYSCAPES)}",
                hint="Only a network with these can take part in the benchmark.",
            )
        names = [benchmark_name(image) for image in images]
        twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
        if twice is not None:
            raise DatasetError(f"{twice} occurs more than once", hint="Give the folder of one split, each image once.")
        for image in images:
            _require_size(image)
        self._path, self._part = path, path.with_name(f"{path.name}.part")
        self._zip = ZipFile(self._part, "w", ZIP_STORED)  # PNG is compressed already

    def add(self, image: Path, ids: NDArray[np.uint8]) -> None:
        """The class ids of an image. Shape: (H, W)."""
        buffer = BytesIO()
        Image.fromarray(Cityscapes.decoder.encode(ids)).save(buffer, "PNG")
        self._zip.writestr(f"{benchmark_name(image)}.png", buffer.getvalue())

    def finish(self) -> None:
        """All are added."""
        self._zip.close()
        self._part.replace(self._path)

    def discard(self) -> None:
        """Leave no file."""
        self._zip.close()
        self._part.unlink(missing_ok=True)


def benchmark_name(image: Path) -> str:
    """The name by which the benchmark knows the image. Raises DatasetError: it is none of the data set's."""
    match = _NAME.fullmatch(image.stem)
    if match is None:
        raise DatasetError(
            f"{image} is not named as an image of Cityscapes",
            hint="Give leftImg8bit/test as it was unpacked: CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png.",
        )
    return match[1]


def _require_size(path: Path) -> None:
    with opened(path) as image:
        width, height = shown_size(image)
    if (height, width) != SIZE:
        raise DatasetError(
            f"{path} is {height}×{width}; the benchmark's images are {SIZE[0]}×{SIZE[1]}",
            hint="Give the images as they were unpacked; predictions have the size of their image.",
        )
