"""A plain folder of images and labels as a data set: what somebody has who has no benchmark.

::

    ROOT/classes.yaml          the classes
    ROOT/images/NAME.png       or .jpg, …; below images/train, images/val and images/test where there are such folders
    ROOT/labels/NAME.png       one id per pixel; in folders of the same names

`classes.yaml`::

    classes:
      - road                   # a name: its id is its place in the list, counted from 0
      - {name: car, id: 7, colour: [0, 0, 142]}
    ignore: [255]              # ids that do not count
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, StrictInt, model_validator

from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from nas_client.data.base import SPLITS, DataSettings, Labelling, Split
from nas_client.data.classes import IGNORE, Classes, Colour
from nas_client.data.image_files import IMAGE_SUFFIXES, FileDataset, IdDecoder, Pair
from nas_client.errors import DatasetError
from nas_client.runs.config import read_config

CLASSES = "classes.yaml"
_VALIDATION = 5
"""Every fifth image is for validation where there are no folders for the splits."""

Byte = Annotated[StrictInt, Field(ge=0, le=255)]


class FolderClass(Record):
    """One class.

    Attributes:
        name: for people.
        id: in the label files; its place in the list where None.
        colour: in pictures; one of ours where None.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)]
    id: Byte | None = None
    colour: tuple[Byte, Byte, Byte] | None = None


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class FolderClasses(Record):
    """The content of `classes.yaml`.

    Attributes:
        classes: in the order of the network's.
        ignore: ids of the label files that no loss and no metric counts.
    """

    classes: Annotated[tuple[Annotated[FolderClass, BeforeValidator(_named)], ...], Field(min_length=2, max_length=IGNORE - 1)]
    ignore: tuple[Byte, ...] = (IGNORE,)

    @model_validator(mode="after")
    def _everything_once(self) -> Self:
        _require_once("name", [item.name for item in self.classes])
        _require_once("id", [*self.ids(), *sorted(set(self.ignore))])
        _require_once("colour", [item.colour for item in self.classes if item.colour is not None])
        return self

    def ids(self) -> tuple[int, ...]:
        """The id of each class in the label files."""
        return tuple(place if item.id is None else item.id for place, item in enumerate(self.classes))

    def table(self) -> dict[int, int]:
        """Class ids, and `IGNORE`, by the ids of the label files."""
        return {own: class_id for class_id, own in enumerate(self.ids())} | dict.fromkeys(self.ignore, IGNORE)

    def shown(self) -> Classes:
        """Names and colours."""
        stated = {item.colour for item in self.classes}
        free = (colour for colour in map(_colour, range(1, 256)) if colour not in stated)
        colours = tuple(next(free) if item.colour is None else item.colour for item in self.classes)
        return Classes(tuple(item.name for item in self.classes), colours)


def _require_once(what: str, values: list[Any]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise InvalidSpecError(
                f"classes: {what} {value!r} occurs more than once",
                hint="Every class needs a name, an id and a colour of its own, and `ignore` none of their ids.",
            )


def _colour(index: int) -> Colour:
    """Colours that are far apart for small indices: bit by bit from the highest, as PASCAL VOC's colour map."""
    channels = [sum((index >> 3 * place + channel & 1) << 7 - place for place in range(3)) for channel in range(3)]
    return channels[0], channels[1], channels[2]


class ImageFolder(FileDataset):
    """A plain folder: `images`, `labels` and `classes.yaml`.

    Where `images` has folders `train`, `val` and `test`, these are the splits. Otherwise every fifth image, in the order of
    names, is for validation, and the others are for training.
    """

    name = "folder"
    layout = (
        "Images lie in images/NAME.png (or .jpg), labels in labels/NAME.png, both below one folder, and the classes' names in "
        f"{CLASSES}; see docs/data.md."
    )

    @classmethod
    def labelling(cls, settings: DataSettings) -> Labelling:
        found = read_classes(cls.require_root(settings))
        return Labelling(found.shown(), _decoder(found.table()).encode)

    @classmethod
    def open(cls, settings: DataSettings, split: Split) -> Self:
        found = read_classes(cls.require_root(settings))
        dataset = super().open(settings, split)
        dataset.classes, dataset.decoder = found.shown(), _decoder(found.table())
        return dataset

    @classmethod
    def find_pairs(cls, root: Path, split: Split) -> Iterator[Pair]:
        images, labels = (cls.require_folder(root, folder) for folder in ("images", "labels"))
        if any((images / name).is_dir() for name in SPLITS):
            chosen = _images(images / split) if (images / split).is_dir() else []
            labels /= split
        elif split == "test":
            raise DatasetError(
                f"{root} has no images for testing",
                hint="Make folders train, val and test, in images and in labels.",
            )
        else:
            found = _images(images)
            chosen = [path for place, path in enumerate(found) if (place % _VALIDATION == 0) == (split == "val")]
        for image in chosen:
            yield Pair(image, labels / f"{image.stem}.png")


def read_classes(root: Path) -> FolderClasses:
    """The classes of the folder. Raises DatasetError: they are missing or wrong; names the field."""
    path = root / CLASSES
    try:
        return read_config(FolderClasses, path)
    except InvalidSpecError as error:
        message = error.message if str(path) in error.message else f"{path}: {error.message}"
        raise DatasetError(message, hint=error.hint or ImageFolder.layout) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error})", hint=ImageFolder.layout) from error


def _decoder(table: Mapping[int, int]) -> IdDecoder:
    return IdDecoder(table, hint=f"Add the ids to {CLASSES}: as classes, or to `ignore`.")


def _images(folder: Path) -> list[Path]:
    """The images of a folder, in the order of names. Raises DatasetError for anything else there, and for two of one name."""
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        if path.is_dir() or path.suffix.lower() not in IMAGE_SUFFIXES:
            raise DatasetError(f"{path} is no image", hint=f"Images end in {', '.join(IMAGE_SUFFIXES)}. Move it elsewhere.")
        if path.stem in found:
            raise DatasetError(f"{path} and {found[path.stem]} would have the same labels", hint="Rename one, and its labels.")
        found[path.stem] = path
    return list(found.values())
