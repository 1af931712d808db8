"""Data sets of image files: pairs of an image and its label image, and how label images become class ids.

A label value that the data set does not know is an error, never a class.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from nas_client.data.base import CheckProgress, DataSettings, Labelling, Sample, SegmentationDataset, Split
from nas_client.data.classes import IGNORE, Classes, Colour
from nas_client.errors import DatasetError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Of image files, in lower case."""

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

    @abstractmethod
    def encode(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The label image that `decode` reads as these class ids; where several values mean a class, its first.

        Shape: (H, W) to that of the label image.
        """


class IdDecoder(LabelDecoder):
    """One byte per pixel: an id of the data set, which a table turns into a class id or `IGNORE`."""

    def __init__(self, class_ids: Mapping[int, int], *, hint: str) -> None:
        self._table = np.full(256, _UNKNOWN, dtype=np.int16)
        self._table[list(class_ids)] = list(class_ids.values())
        self._own = np.zeros(256, dtype=np.uint8)
        for own, class_id in reversed(list(class_ids.items())):
            self._own[class_id] = own
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

    def encode(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self._own[labels]
        return found


class ColourDecoder(LabelDecoder):
    """One colour per pixel, which a table turns into a class id or `IGNORE`.

    Args:
        class_ids: class ids by colour.
        classes: whose colours `encode` writes: one of each class's.
        hint: what to do where a label image is not so.
    """

    def __init__(self, class_ids: Mapping[Colour, int], classes: Classes, *, hint: str) -> None:
        self._shown = classes
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

    def encode(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return self._shown.paint(labels)


def train_ids(classes: int) -> dict[int, int]:
    """The table of labels that are class ids already."""
    return {value: value for value in (*range(classes), IGNORE)}


def _pack(colours: NDArray[np.int32]) -> NDArray[np.int32]:
    return colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]


def _unknown(path: Path, what: str, values: list[str], pixels: int, hint: str) -> DatasetError:
    shown = ", ".join(values[:5]) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
    return DatasetError(f"{path}: unknown {what} {shown} at {pixels} pixels", hint=hint)


_CHECKING_THREADS = 4
"""Decoding an image releases the interpreter's lock, and several are read from the disk at once."""


@dataclass(frozen=True)
class Pair:
    """The files of one sample."""

    image: Path
    labels: Path


class FileDataset(SegmentationDataset):
    """A data set read from files.

    Attributes:
        layout: where its files lie below the root, for messages.
        decoder: how it stores labels.
    """

    layout: ClassVar[str]
    decoder: LabelDecoder

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = tuple(pairs)

    @classmethod
    def labelling(cls, settings: DataSettings) -> Labelling:
        return Labelling(cls.classes, cls.decoder.encode)

    @classmethod
    def open(cls, settings: DataSettings, split: Split) -> Self:
        root = cls.require_root(settings)
        pairs = sorted(cls.find_pairs(root, split), key=lambda pair: pair.image)
        if not pairs:
            raise DatasetError(f"{root}: no images of {cls.name}'s {split} split", hint=cls.layout)
        missing = [pair for pair in pairs if not pair.labels.is_file()]
        if missing:
            raise DatasetError(
                f"{missing[0].image} has no labels: {missing[0].labels} is missing{_others(len(missing) - 1, 'image')}",
                hint=f"Unpack the label archive too, or remove the images without labels. {cls.layout}",
            )
        return cls(pairs)

    @classmethod
    @abstractmethod
    def find_pairs(cls, root: Path, split: Split) -> Iterator[Pair]:
        """The images of that split with the label files they should have, in any order.

        Raises:
            DatasetError: a folder is missing.
        """

    @classmethod
    def require_root(cls, settings: DataSettings) -> Path:
        """The folder of the data set. Raises DatasetError where none is named."""
        if settings.root is None:
            raise DatasetError(f"{cls.name} needs the folder it was unpacked into", hint=f"Set its root. {cls.layout}")
        return settings.root

    @classmethod
    def require_folder(cls, root: Path, *folders: str) -> Path:
        """The first of these folders that exists below the root.

        Raises:
            DatasetError: none does; says where they lie if the root is one level off.
        """
        for folder in folders:
            if (root / folder).is_dir():
                return root / folder
        if not root.is_dir():
            raise DatasetError(f"{root}: no such folder", hint=f"Give the folder {cls.name} was unpacked into. {cls.layout}")
        around = [root.parent, *sorted(child for child in root.iterdir() if child.is_dir())]
        better = next((near for near in around if any((near / folder).is_dir() for folder in folders)), None)
        hint = f"Did you mean {better}?" if better else cls.layout
        raise DatasetError(f"{root} holds no folder {' or '.join(folders)}, so it is not {cls.name}", hint=hint)

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int) -> Sample:
        pair = self.pairs[index]
        pixels = read_image(pair.image)
        labels = self._labels(pair.labels)
        _require_size(pair, (pixels.shape[1], pixels.shape[0]), (labels.shape[1], labels.shape[0]))
        return Sample(pixels, labels)

    def stored_size(self, index: int) -> tuple[int, int]:
        path = self.pairs[index].image
        with opened(path) as image:
            width, height = shown_size(image)
        return height, width

    def check(self, progress: CheckProgress | None = None) -> None:
        problems = []
        with ThreadPoolExecutor(_CHECKING_THREADS) as pool:
            for done, problem in enumerate(pool.map(self._problem, self.pairs), start=1):
                if problem is not None:
                    problems.append(problem)
                if progress is not None:
                    progress(done, len(self))
        if problems:
            first = problems[0]
            raise DatasetError(f"{first.message}{_others(len(problems) - 1, 'file')}", hint=first.hint) from first

    def _problem(self, pair: Pair) -> DatasetError | None:
        try:
            with opened(pair.image) as image:
                _require_bytes(image, pair.image)
                size = shown_size(image)
                image.load()  # its head says nothing of what is cut short or damaged below
            labels = self._labels(pair.labels)
            _require_size(pair, size, (labels.shape[1], labels.shape[0]))
        except DatasetError as problem:
            return problem
        return None

    def _labels(self, path: Path) -> NDArray[np.uint8]:
        with opened(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return self.decoder.decode(image, path)


_UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
"""Pillow's errors for what is missing, no image, cut short, damaged, or of more pixels than it decodes."""


@contextmanager
def opened(path: Path, *, hint: str = "Unpack this file again.") -> Iterator[Image.Image]:
    """The image in a file, decoded when it is used. Raises DatasetError where it cannot be read."""
    try:
        with Image.open(path) as image:
            yield image
    except _UNREADABLE as error:
        raise DatasetError(f"{path}: cannot be read as an image ({error})", hint=hint) from error


def read_image(path: Path, *, hint: str = "Unpack this file again.") -> NDArray[np.uint8]:
    """The colours in a file, turned as its EXIF orientation says. Shape: (H, W, 3).

    Raises:
        DatasetError: it cannot be read, or has more than 8 bits per channel.
    """
    with opened(path, hint=hint) as image:
        _require_bytes(image, path)
        ImageOps.exif_transpose(image, in_place=True)
        return np.asarray(image.convert("RGB"))


def shown_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) as `read_image` gives it, from the file's head alone."""
    # Pillow's own method for PNG decodes the whole image; its TIFF files have this size already.
    sideways = image.format != "TIFF" and Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) in _SIDEWAYS
    width, height = image.size
    return (height, width) if sideways else (width, height)


_SIDEWAYS = (5, 6, 7, 8)
"""EXIF's orientations by which width and height change places."""

_WIDE = ("I", "F")
"""Pillow's modes of more than 8 bits, and beginnings of others, such as I;16; to RGB it clips them at 255."""


def _require_bytes(image: Image.Image, path: Path) -> None:
    if image.mode.split(";")[0] in _WIDE:
        raise DatasetError(
            f"{path}: an image of mode {image.mode}, of more than 8 bits per pixel and channel",
            hint="Scale its values to 0 to 255, and write it as 8 bits.",
        )


def _require_size(pair: Pair, image: tuple[int, int], labels: tuple[int, int]) -> None:
    if image != labels:
        raise DatasetError(
            f"{pair.labels} is {labels[1]}×{labels[0]}, but its image {pair.image} is {image[1]}×{image[0]} (height × width)",
            hint="Unpack both files again; labels must have the size of their image, each turned as its EXIF orientation says.",
        )


def _others(count: int, what: str) -> str:
    return f"; so it is with {count} other {what}{'s' if count > 1 else ''}" if count else ""
