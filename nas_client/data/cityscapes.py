"""Cityscapes (Cordts et al. 2016): 2975 training and 500 validation images of 1024×2048 with fine labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nas_client.data.base import Split
from nas_client.data.classes import CITYSCAPES, IGNORE
from nas_client.data.decoding import IdDecoder
from nas_client.data.files import FileDataset, Pair

_IDS = 34
_BENCHMARK_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Label ids by train id. The other ids do not count in the benchmark; licence plates, id −1, are stored as 255."""

CLASS_IDS = {
    **dict.fromkeys((*range(_IDS), 255), IGNORE),
    **{label_id: train_id for train_id, label_id in enumerate(_BENCHMARK_IDS)},
}
"""Label id to train id."""


class Cityscapes(FileDataset):
    """Images and fine labels, as the archives `leftImg8bit_trainvaltest` and `gtFine_trainvaltest` unpack.

    The owner's label ids are turned into train ids here: no files need to be prepared. The test split's labels are not public.
    """

    name = "cityscapes"
    classes = CITYSCAPES
    splits = ("train", "val")
    layout = (
        "Images lie in leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png, labels in gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png, "
        "both below one folder."
    )
    decoder = IdDecoder(CLASS_IDS, hint=f"Use the owner's *_gtFine_labelIds.png; their ids are 0 to {_IDS - 1}, and 255.")

    @classmethod
    def find_pairs(cls, root: Path, split: Split) -> Iterator[Pair]:
        images, labels = (cls.require_folder(root, folder) / split for folder in ("leftImg8bit", "gtFine"))
        for image in images.glob("*/*_leftImg8bit.png"):
            stem = image.name.removesuffix("_leftImg8bit.png")
            yield Pair(image, labels / image.parent.name / f"{stem}_gtFine_labelIds.png")
