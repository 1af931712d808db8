"""BDD100K's 10k segmentation set (Yu et al. 2018): 7000 training and 1000 validation images of 720×1280."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nas_client.data.base import Split
from nas_client.data.classes import CITYSCAPES
from nas_client.data.decoding import IdDecoder, train_ids
from nas_client.data.files import FileDataset, Pair


class Bdd100k(FileDataset):
    """Images and labels in either layout that the owner has distributed; labels are Cityscapes' train ids.

    The labels of the test split are not public.
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
