"""The data sets of pets: Oxford-IIIT Pet with two classes or three, and generated animals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nas_client.data.base import Sample, Split
from nas_client.data.classes import IGNORE, Classes
from nas_client.data.generated import GeneratedDataset
from nas_client.data.image_files import FileDataset, IdDecoder, Pair
from nas_client.data.pets.animal import draw_animal
from nas_client.errors import DatasetError

PETS = Classes(("background", "pet"), ((60, 90, 120), (235, 170, 60)))
"""The classes of a trimap whose border does not count."""

PETS3 = Classes((*PETS.names, "border"), (*PETS.colours, (250, 250, 250)))
"""All that a trimap tells apart."""

_PET, _BACKGROUND, _BORDER = 1, 2, 3  # values of a trimap
_HINT = "Use the owner's annotations/trimaps; their values are 1 (pet), 2 (background) and 3 (border)."
_VALIDATION = 5
"""Every fifth image of the owner's trainval list is for validation."""


class OxfordPets(FileDataset):
    """Oxford-IIIT Pet (Parkhi et al. 2012): 7349 images of cats and dogs of many sizes, each with a trimap.

    Two classes, pet and background; the border between them, whose pixels the owner leaves unclassified, does not count. Files
    lie as the owner's two archives unpack. The lists of the owner, `trainval.txt` and `test.txt`, say which images there are;
    every fifth of the first, in the order of names, is the validation split, which is ours.
    """

    name = "oxford_pets"
    classes = PETS
    layout = (
        "Images lie in images/NAME.jpg, labels in annotations/trimaps/NAME.png, both below one folder, and the lists "
        "trainval.txt and test.txt in annotations."
    )
    decoder = IdDecoder({_PET: 1, _BACKGROUND: 0, _BORDER: IGNORE}, hint=_HINT)

    @classmethod
    def find_pairs(cls, root: Path, split: Split) -> Iterator[Pair]:
        images, annotations = (cls.require_folder(root, folder) for folder in ("images", "annotations"))
        listed = annotations / ("test.txt" if split == "test" else "trainval.txt")
        names = sorted(_names(listed))
        held_out = set(names[::_VALIDATION])
        for name in names:
            if split == "test" or (name in held_out) == (split == "val"):
                yield Pair(images / f"{name}.jpg", annotations / "trimaps" / f"{name}.png")


class OxfordPets3(OxfordPets):
    """The same with the border as a third class."""

    name = "oxford_pets3"
    classes = PETS3
    decoder = IdDecoder({_PET: 1, _BACKGROUND: 0, _BORDER: 2}, hint=_HINT)


class SyntheticPets(GeneratedDataset):
    """Generated images with the two classes of `oxford_pets`, for when there are no files: one animal in each, on any ground.

    Colour says little about the class: fur and ground have the same colours. Legs, tails and ears are thin. The pixels along
    the outline do not count.
    """

    name = "synthetic_pets"
    classes = PETS

    @classmethod
    def draw(cls, size: tuple[int, int], rng: np.random.Generator) -> Sample:
        return draw_animal(size, rng)


def _names(path: Path) -> Iterator[str]:
    """The first word of each line that is no comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error})", hint="Unpack the owner's annotations archive again.") from error
    for line in lines:
        if line.strip() and not line.startswith("#"):
            yield line.split()[0]
