"""What every data set is: images, their labels, the classes, and a check before anything trains on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.spaces.search_defaults import Side as Side
from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from nas_client.data.classes import Classes
from nas_client.errors import DatasetError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

CheckProgress = Callable[[int, int], None]
"""Called with how many images are checked, and how many there are."""

Images = Annotated[int, Field(ge=1, le=1_000_000)]

Workers = Annotated[int, Field(ge=0, le=128)]
"""Processes that read images; 0 reads them in the process that trains."""

EvaluationBatch = Annotated[int, Field(ge=1, le=1024)]
"""Images that are evaluated at once."""


class Sample(NamedTuple):
    """One image with its labels, as stored.

    Attributes:
        image: RGB, uint8. Shape: (H, W, 3).
        labels: class ids or `IGNORE`, uint8. Shape: (H, W).
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class Labelling(NamedTuple):
    """What class ids mean, and how the owner of a data set writes them.

    Attributes:
        classes: names and colours.
        encode: class ids to the owner's label image: ids, or colours where the owner's labels are colours.
            Shape: (H, W) to (H, W) or (H, W, 3), uint8.
    """

    classes: Classes
    encode: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


class DataSettings(Record):
    """Which data set, and where.

    Attributes:
        name: as `open_dataset` takes it.
        root: the folder of a data set that is read from files.
        image_size: height and width of generated images; files have their own.
        train_images, val_images, test_images: how many images are generated for each split.
        seed: generated images follow from it.
        cache: keep every sample in memory once it was read or generated: 4 bytes per pixel. For small data sets read in this
            process; worker processes keep their own, and forget it with every epoch.
    """

    name: str = "synthetic_streets"
    root: Path | None = None
    image_size: tuple[Side, Side] = (128, 256)
    train_images: Images = 400
    val_images: Images = 100
    test_images: Images = 100
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    cache: bool = False

    def images(self, split: Split) -> int:
        """How many images are generated for that split."""
        return {"train": self.train_images, "val": self.val_images, "test": self.test_images}[split]

    def require_workers(self, workers: int) -> None:
        """Raises InvalidSpecError where samples would be kept in memory, but other processes read them."""
        if self.cache and workers:
            raise InvalidSpecError(
                f"data.cache keeps samples in the process that reads them, but workers is {workers}",
                hint="Set workers=0, or data.cache=false.",
            )


class SegmentationDataset(ABC):
    """Images with labels, by index. Reading is free of state, so that any number of worker processes may do it.

    Attributes:
        name: as `open_dataset` takes it.
        classes: what the labels mean.
        splits: those that have labels to train on or to evaluate with.
    """

    name: ClassVar[str]
    classes: Classes
    splits: ClassVar[tuple[Split, ...]] = SPLITS
    _kept: dict[int, Sample] | None = None

    @classmethod
    @abstractmethod
    def open(cls, settings: DataSettings, split: Split) -> Self:
        """That split of the data set the settings describe.

        Raises:
            DatasetError: its files are not where they should be; names the folder or file and what to do.
        """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, index: int) -> Sample:
        """The image and labels at that index, read or generated now; see `sample`."""

    def keep_samples(self) -> None:
        """From now on keep every sample in memory."""
        self._kept = {}

    def sample(self, index: int) -> Sample:
        """The image and labels at that index, 0 ≤ index < len; the same at every call, not to be written to.

        Raises:
            DatasetError: a file cannot be read, or its labels are not those of the data set.
        """
        if self._kept is None:
            return self.read(index)
        if index not in self._kept:
            self._kept[index] = self.read(index)
        return self._kept[index]

    def stored_size(self, index: int) -> tuple[int, int] | None:
        """Height and width of the image at that index; None, the default, where they are not known before it is read.

        Raises:
            DatasetError: a file cannot be read.
        """
        return None

    @abstractmethod
    def check(self, progress: CheckProgress | None = None) -> None:
        """Look at every image and label now, so that a training does not fail hours later.

        Raises:
            DatasetError: names the first file at fault, what to do, and how many others are.
        """

    @classmethod
    def labelling(cls, settings: DataSettings) -> Labelling:
        """What predictions for the data set mean; its images need not be there. By default class ids are the owner's.

        Raises:
            DatasetError: a file that says so is missing or damaged.
        """
        return Labelling(cls.classes, _same)

    @classmethod
    def require_split(cls, split: Split) -> None:
        """Raises DatasetError for a split that has no labels."""
        if split not in cls.splits:
            raise DatasetError(
                f"{cls.name} has no labels for its {split} split", hint=f"Splits with labels: {', '.join(cls.splits)}."
            )


def _same(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return labels
