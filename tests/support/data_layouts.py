"""A few files in the layout in which each data set's owner distributes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

SIZE = (6, 8)


def picture(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_cityscapes(root: Path, labels: dict[str, NDArray[np.uint8]], split: str = "train") -> None:
    """Labels by `CITY/CITY_SEQUENCE_FRAME`; with the other files that the owner's archives hold."""
    for seed, (stem, ids) in enumerate(labels.items()):
        save(root / "leftImg8bit" / split / f"{stem}_leftImg8bit.png", picture(seed))
        save(root / "gtFine" / split / f"{stem}_gtFine_labelIds.png", ids)
        save(root / "gtFine" / split / f"{stem}_gtFine_color.png", picture(seed))


def write_camvid(root: Path, labels: dict[str, NDArray[np.uint8]]) -> None:
    """Labels, as colours, by the frame's name."""
    for seed, (stem, colours) in enumerate(labels.items()):
        save(root / "701_StillsRaw_full" / f"{stem}.png", picture(seed))
        save(root / "LabeledApproved_full" / f"{stem}_L.png", colours)


def write_bdd100k(root: Path, labels: dict[str, NDArray[np.uint8]], *, older: bool, split: str = "train") -> None:
    """Labels, as train ids, by the image's name."""
    images = root / ("seg/images" if older else "images/10k") / split
    masks = root / ("seg/labels" if older else "labels/sem_seg/masks") / split
    for seed, (stem, ids) in enumerate(labels.items()):
        save(images / f"{stem}.jpg", picture(seed))
        save(masks / f"{stem}{'_train_id' if older else ''}.png", ids)


def write_pets(root: Path, trimaps: dict[str, NDArray[np.uint8]], *, test: tuple[str, ...] = ()) -> None:
    """Trimaps by the image's name; those named in `test` are in that list, the others in trainval."""
    for seed, (name, trimap) in enumerate(trimaps.items()):
        save(root / "images" / f"{name}.jpg", picture(seed))
        save(root / "annotations" / "trimaps" / f"{name}.png", trimap)
    for file, names in (("trainval", [name for name in trimaps if name not in test]), ("test", test)):
        lines = ["#Image CLASS-ID SPECIES BREED ID", *(f"{name} 1 1 1" for name in names)]
        (root / "annotations" / f"{file}.txt").write_text("\n".join(lines) + "\n")


def write_folder(
    root: Path,
    labels: dict[str, NDArray[np.uint8]],
    *,
    classes: Sequence[str | dict[str, object]] = ("road", "car", "sky"),
    ignore: Sequence[int] = (255,),
    suffix: str = ".png",
) -> None:
    """A plain folder; labels by the image's name, which may begin with a split's: `train/a`."""
    root.mkdir(parents=True, exist_ok=True)
    document = {"classes": list(classes), "ignore": list(ignore)}
    (root / "classes.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    for seed, (name, ids) in enumerate(labels.items()):
        save(root / "images" / f"{name}{suffix}", picture(seed, (ids.shape[0], ids.shape[1])))
        save(root / "labels" / f"{name}.png", ids)
