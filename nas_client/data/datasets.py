"""The data sets by name: CamVid, Cityscapes and BDD100K from files, and generated street scenes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from models.plugin_registry import Registry
from models.spec.errors import InvalidSpecError
from nas_client.data.base import DataSettings, Labelling, Sample, SegmentationDataset, Split
from nas_client.data.classes import CAMVID, CITYSCAPES, IGNORE, Classes, Colour
from nas_client.data.generated import GeneratedDataset
from nas_client.data.image_files import ColourDecoder, FileDataset, IdDecoder, Pair, train_ids
from nas_client.data.streets.scene import draw_scene
from nas_client.errors import DatasetError

_CAMVID_GROUPS: dict[str, dict[str, Colour]] = {
    "sky": {"Sky": (128, 128, 128)},
    "building": {
        "Archway": (192, 0, 128),
        "Bridge": (0, 128, 64),
        "Building": (128, 0, 0),
        "Tunnel": (64, 0, 64),
        "Wall": (64, 192, 0),
    },
    "pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "road": {"LaneMkgsDriv": (128, 0, 192), "LaneMkgsNonDriv": (192, 0, 64), "Road": (128, 64, 128)},
    "pavement": {"ParkingBlock": (64, 192, 128), "RoadShoulder": (128, 128, 192), "Sidewalk": (0, 0, 192)},
    "tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "sign": {"Misc_Text": (128, 128, 64), "SignSymbol": (192, 128, 128), "TrafficLight": (0, 64, 64)},
    "fence": {"Fence": (64, 64, 128)},
    "car": {
        "Car": (64, 0, 128),
        "OtherMoving": (128, 64, 64),
        "SUVPickupTruck": (64, 128, 192),
        "Train": (192, 64, 128),
        "Truck_Bus": (192, 128, 192),
    },
    "pedestrian": {
        "Animal": (64, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Child": (192, 128, 64),
        "Pedestrian": (64, 64, 0),
    },
    "bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}
"""The owner's 32 classes, but for Void, by the class of ours that they belong to."""

CAMVID_IDS = {
    (0, 0, 0): IGNORE,
    **{colour: CAMVID.id_of(group) for group, members in _CAMVID_GROUPS.items() for colour in members.values()},
}
"""The owner's colours to class ids."""

_CAMVID_OWN: dict[str, Colour] = {
    "Void": (0, 0, 0),
    **{name: colour for members in _CAMVID_GROUPS.values() for name, colour in members.items()},
}
_ORDER = sorted(_CAMVID_OWN, key=str.lower)
CAMVID32 = Classes(tuple(_ORDER), tuple(_CAMVID_OWN[name] for name in _ORDER))
"""The owner's 32 classes in the order of `label_colors.txt`, Void among them."""

CAMVID_HINT = "Use the owner's LabeledApproved_full; its 32 colours are in label_colors.txt."

_FRAME = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)")
_AT_15_HZ = range(7959, 8160, 2)


def camvid_split(stem: str) -> Split | None:
    """The split in which the literature has the frame of that name; None where it is no frame of CamVid.

    367 for training, 101 for validation, 233 for testing (FasterSeg, Appendix G; first in SegNet): Seq05VD and the second half
    of 0001TP are for testing; the stretch of 0016E5 that is labelled at 15 Hz is for validation.
    """
    match = _FRAME.fullmatch(stem)
    if match is None:
        return None
    drive, frame = match[1], int(match[2])
    if drive == "Seq05VD" or (drive == "0001TP" and frame >= 8550):
        return "test"
    return "val" if drive == "0016E5" and frame in _AT_15_HZ else "train"


class CamVid(FileDataset):
    """CamVid (Brostow et al. 2008): 701 labelled frames of 720×960 from five drives through Cambridge.

    Images and labels lie as the owner's two archives unpack, each into a folder of its own name.
    """

    name = "camvid"
    classes = CAMVID
    layout = "Images lie in 701_StillsRaw_full/NAME.png, labels in LabeledApproved_full/NAME_L.png, both below one folder."
    decoder = ColourDecoder(CAMVID_IDS, CAMVID, hint=CAMVID_HINT)

    @classmethod
    def find_pairs(cls, root: Path, split: Split) -> Iterator[Pair]:
        images, labels = (cls.require_folder(root, folder) for folder in ("701_StillsRaw_full", "LabeledApproved_full"))
        for image in images.glob("*.png"):
            found = camvid_split(image.stem)
            if found is None:
                raise DatasetError(f"{image} is no frame of CamVid", hint="Remove it: frames are named as 0016E5_07959.png.")
            if found == split:
                yield Pair(image, labels / f"{image.stem}_L.png")


class CamVid32(CamVid):
    """CamVid with all 32 classes that its owner labels, Void among them, so that every pixel counts."""

    name = "camvid32"
    classes = CAMVID32
    decoder = ColourDecoder({colour: index for index, colour in enumerate(CAMVID32.colours)}, CAMVID32, hint=CAMVID_HINT)


_IDS = 34
_BENCHMARK_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Label ids by train id. The other ids do not count in the benchmark; licence plates, id −1, are stored as 255."""

CITYSCAPES_IDS = {
    **dict.fromkeys((*range(_IDS), 255), IGNORE),
    **{label_id: train_id for train_id, label_id in enumerate(_BENCHMARK_IDS)},
}
"""Label id to train id."""


class Cityscapes(FileDataset):
    """Cityscapes (Cordts et al. 2016): 2975 training and 500 validation images of 1024×2048 with fine labels.

    Files lie as the archives `leftImg8bit_trainvaltest` and `gtFine_trainvaltest` unpack. The owner's label ids become train
    ids here, so that no files need to be prepared. The labels of the test split are not public.
    """

    name = "cityscapes"
    classes = CITYSCAPES
    splits = ("train", "val")
    layout = (
        "Images lie in leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png, labels in gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png, "
        "both below one folder."
    )
    decoder = IdDecoder(CITYSCAPES_IDS, hint=f"Use the owner's *_gtFine_labelIds.png; their ids are 0 to {_IDS - 1}, and 255.")

    @classmethod
    def find_pairs(cls, root: Path, split: Split) -> Iterator[Pair]:
        images, labels = (cls.require_folder(root, folder) / split for folder in ("leftImg8bit", "gtFine"))
        for image in images.glob("*/*_leftImg8bit.png"):
            stem = image.name.removesuffix("_leftImg8bit.png")
            yield Pair(image, labels / image.parent.name / f"{stem}_gtFine_labelIds.png")


class Bdd100k(FileDataset):
    """BDD100K's 10k segmentation set (Yu et al. 2018): 7000 training and 1000 validation images of 720×1280.

    Files lie in either layout that the owner has distributed. Labels are Cityscapes' train ids. The labels of the test split
    are not public.
    """

    name = "bdd100k"
    classes = CITYSCAPES
    splits = ("train", "val")
    layout = (
        "Images lie in images/10k/SPLIT/NAME.jpg, labels in labels/sem_seg/masks/SPLIT/NAME.png; "
        "in the older archive, in seg/images/SPLIT/NAME.jpg and seg/labels/SPLIT/NAME_train_id.png."
    )
    decoder = IdDecoder(train_ids(len(CITYSCAPES)), hint="Use the owner's masks of train ids, not the colour maps.")

    @classmethod
    def find_pairs(cls, root: Path, split: Split) -> Iterator[Pair]:
        images = cls.require_folder(root, "images/10k", "seg/images")
        if images == root / "images/10k":
            labels, ending = cls.require_folder(root, "labels/sem_seg/masks"), ".png"
        else:
            labels, ending = cls.require_folder(root, "seg/labels"), "_train_id.png"
        for image in (images / split).glob("*.jpg"):
            yield Pair(image, labels / split / f"{image.stem}{ending}")


class SyntheticStreets(GeneratedDataset):
    """Generated street scenes with the 19 classes of Cityscapes, for when there are no files.

    Each scene is a view along a street through a pinhole camera: the same kind of thing is seen at many sizes, poles, fences
    and bicycles are a pixel or two thin, and colour says little about the class. A network's resolution, field of view and
    width all change its mIoU. A scene follows from seed, split, size and index, and is drawn whenever it is read.
    """

    name = "synthetic_streets"
    classes = CITYSCAPES

    @classmethod
    def draw(cls, size: tuple[int, int], rng: np.random.Generator) -> Sample:
        return draw_scene(size, rng)


def _checked(name: str, item: Any) -> type[SegmentationDataset]:
    if not (isinstance(item, type) and issubclass(item, SegmentationDataset)):
        raise InvalidSpecError(f"is no subclass of SegmentationDataset but {item!r}")
    if item.name != name:
        raise InvalidSpecError(f"calls itself {item.name!r}")
    return item


DATASETS: Registry[type[SegmentationDataset]] = Registry("opclock.datasets", _checked, lambda cls: cls.__module__)


def register_dataset(cls: type[SegmentationDataset]) -> type[SegmentationDataset]:
    """Make a data set known by its name; usable as a decorator. Another class under a known name is an error."""
    DATASETS.register(cls.name, cls)
    return cls


def dataset_names() -> list[str]:
    """All known data sets, sorted."""
    return DATASETS.names()


def open_dataset(settings: DataSettings, split: Split) -> SegmentationDataset:
    """That split of the data set the settings describe.

    Raises:
        UnknownNameError: no data set of that name.
        DatasetError: the split has no labels, or the files are not where they should be.
    """
    cls = DATASETS.get(settings.name)
    cls.require_split(split)
    dataset = cls.open(settings, split)
    if settings.cache:
        dataset.keep_samples()
    return dataset


def labelling_of(settings: DataSettings) -> Labelling:
    """What class ids of the data set mean, and how its owner writes them; its images need not be there.

    Raises:
        UnknownNameError: no data set of that name.
        DatasetError: a file that says so is missing or damaged.
    """
    return DATASETS.get(settings.name).labelling(settings)
