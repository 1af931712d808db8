"""CamVid (Brostow et al. 2008): 701 labelled frames of 720×960 from five drives through Cambridge."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nas_client.data.base import Split
from nas_client.data.classes import CAMVID, IGNORE, Colour
from nas_client.data.decoding import ColourDecoder
from nas_client.data.files import FileDataset, Pair
from nas_client.errors import DatasetError

_GROUPS: dict[str, dict[str, Colour]] = {
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

CLASS_IDS = {
    (0, 0, 0): IGNORE,
    **{colour: CAMVID.id_of(group) for group, members in _GROUPS.items() for colour in members.values()},
}
"""The owner's colours to class ids."""

_FRAME = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)")
_AT_15_HZ = range(7959, 8160, 2)


def split_of(stem: str) -> Split | None:
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
    """Frames and hand-made labels, as the owner's two archives unpack, each into a folder of its own name."""

    name = "camvid"
    classes = CAMVID
    layout = "Images lie in 701_StillsRaw_full/NAME.png, labels in LabeledApproved_full/NAME_L.png, both below one folder."
    decoder = ColourDecoder(CLASS_IDS, hint="Use the owner's LabeledApproved_full; its 32 colours are in label_colors.txt.")

    @classmethod
    def find_pairs(cls, root: Path, split: Split) -> Iterator[Pair]:
        images, labels = (cls.require_folder(root, folder) for folder in ("701_StillsRaw_full", "LabeledApproved_full"))
        for image in images.glob("*.png"):
            found = split_of(image.stem)
            if found is None:
                raise DatasetError(f"{image} is no frame of CamVid", hint="Remove it: frames are named as 0016E5_07959.png.")
            if found == split:
                yield Pair(image, labels / f"{image.stem}_L.png")
