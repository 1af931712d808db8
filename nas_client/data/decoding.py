"""Label images to class ids. A value that the data set does not know is an error, never a class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas_client.data.classes import IGNORE, Colour
from nas_client.errors import DatasetError

_UNKNOWN = -1


class LabelDecoder(ABC):
    """How one data set stores its labels."""

    @abstractmethod
    def decode(self, image: Image.Image, path: Path) -> NDArray[np.uint8]:
        """Class ids and `IGNORE`. Shape: (H, W).

        Args:
            image: the label image.
            path: its file, for the message.

        Raises:
            DatasetError: not an image of this kind, or a value the data set does not know.
        """


class IdDecoder(LabelDecoder):
    """One byte per pixel: an id of the data set, which a table turns into a class id or `IGNORE`."""

    def __init__(self, class_ids: Mapping[int, int], *, hint: str) -> None:
        self._table = np.full(256, _UNKNOWN, dtype=np.int16)
        self._table[list(class_ids)] = list(class_ids.values())
        self._hint = hint

    def decode(self, image: Image.Image, path: Path) -> NDArray[np.uint8]:
        if image.mode not in ("L", "P"):
            raise DatasetError(f"{path}: an image of mode {image.mode}; labels hold one id per pixel (mode L)", hint=self._hint)
        ids = np.asarray(image)
        labels = self._table[ids]
        if labels.min(initial=0) == _UNKNOWN:
            unknown, count = np.unique(ids[labels == _UNKNOWN], return_counts=True)
            raise _unknown(path, "label ids", [str(value) for value in unknown], int(count.sum()), self._hint)
        return np.asarray(labels, dtype=np.uint8)


class ColourDecoder(LabelDecoder):
    """One colour per pixel, which a table turns into a class id or `IGNORE`."""

    def __init__(self, class_ids: Mapping[Colour, int], *, hint: str) -> None:
        codes = _pack(np.array(list(class_ids), dtype=np.int32))
        order = np.argsort(codes)
        self._codes = codes[order]
        self._classes = np.array(list(class_ids.values()), dtype=np.uint8)[order]
        self._hint = hint

    def decode(self, image: Image.Image, path: Path) -> NDArray[np.uint8]:
        if image.mode not in ("RGB", "P"):
            raise DatasetError(f"{path}: an image of mode {image.mode}; labels are colours (mode RGB)", hint=self._hint)
        codes = _pack(np.asarray(image.convert("RGB"), dtype=np.int32))
        positions = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
        unknown = self._codes[positions] != codes
        if unknown.any():
            values = [str((code >> 16, code >> 8 & 255, code & 255)) for code in np.unique(codes[unknown]).tolist()]
            raise _unknown(path, "label colours", values, int(unknown.sum()), self._hint)
        labels: NDArray[np.uint8] = self._classes[positions]
        return labels


def train_ids(classes: int) -> dict[int, int]:
    """The table of labels that are class ids already."""
    return {value: value for value in (*range(classes), IGNORE)}


def _pack(colours: NDArray[np.int32]) -> NDArray[np.int32]:
    return colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]


def _unknown(path: Path, what: str, values: list[str], pixels: int, hint: str) -> DatasetError:
    shown = ", ".join(values[:5]) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
    return DatasetError(f"{path}: unknown {what} {shown} at {pixels} pixels", hint=hint)
