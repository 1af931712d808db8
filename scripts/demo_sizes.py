"""Sizes of the searches of `demo_spaces.py`: spaces, images and epochs with which two cores take minutes, and that learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from demo_steps import Config


@dataclass(frozen=True)
class Size:
    """Of the search in one space.

    Attributes:
        input_size, parameters, classes: of the space, as of `nas-client profile`.
        search, train: the configurations, over what the space states.
        role: of the network that is found and trained.
    """

    input_size: str
    parameters: Mapping[str, str]
    search: Config
    train: Config
    role: str = "network"
    classes: int = 19


STREETS = {"image_size": [128, 256], "train_images": 160, "val_images": 40, "cache": True}
PETS = {"name": "synthetic_pets", "image_size": [128, 128], "train_images": 240, "val_images": 80, "cache": True}
EVALUATION = {"every": 4, "images": 24, "batch_size": 8, "statistics_batches": 6}
BATCH = 8


def _search(data: Config, label_stride: int, **phases: Config) -> Config:
    """A search on whole images of the data's size, at the scores' resolution."""
    usual = {"data": data, "image_scale": 1.0, "label_stride": label_stride, "latency": {"weights": "solved", "factor": 0.05}}
    return {**usual, **phases, "evaluation": EVALUATION}


def _phase(epochs: int, crop: list[int], lr: float, **further: Any) -> Config:
    """Of a search. Logits move so fast since there are few steps."""
    architecture = {"architecture": {"method": "adam", "lr": 0.04, "betas": [0.5, 0.999], "weight_decay": 0.0}}
    return {"epochs": epochs, "batch_size": BATCH, "crop": crop, "optimizer": {"lr": lr}, **architecture, **further}


def _train(data: Config, label_stride: int, epochs: int, crop: list[int]) -> Config:
    validation = {"every": 5, "batch_size": BATCH, "statistics_batches": 10}
    usual = {"data": data, "crop": crop, "label_stride": label_stride, "batch_size": BATCH, "epochs": epochs}
    return {**usual, "optimizer": {"lr": 0.05}, "validation": validation}


_FASTERSEG = {"layers": "6", "base_channels": "6", "widths": "4,8,12"}
_PRETRAIN: Config = {"epochs": 4, "batch_size": BATCH, "crop": [64, 128], "optimizer": {"lr": 0.05}}
_STREET_SEARCH = _search(STREETS, 8, pretrain=_PRETRAIN, search=_phase(5, [64, 128], 0.05))

SIZES: Mapping[str, Size] = {
    "fasterseg": Size("128x256", _FASTERSEG, _STREET_SEARCH, _train(STREETS, 8, 15, [96, 192]), role="student"),
    "mfasterseg": Size("128x256", _FASTERSEG, _STREET_SEARCH, _train(STREETS, 8, 15, [96, 192]), role="student"),
    "rspnet": Size(
        "128x256",
        {"layers": "3", "stack": "2", "part": "2", "base_width": "8", "stem_width": "16", "scales": "3"},
        _search(STREETS, 4, search=_phase(6, [64, 128], 0.05), second=_phase(3, [64, 128], 0.05, searches=["beta"])),
        _train(STREETS, 4, 15, [96, 192]),
    ),
    "search_net": Size(
        "128x128",
        {"base_channels": "8", "levels": "3", "nodes": "2"},
        {**_search(PETS, 2, search=_phase(6, [64, 64], 0.003)), "scales": [1.0]},
        {**_train(PETS, 2, 12, [64, 64]), "scales": [1.0]},
        classes=2,
    ),
}
"""By space. RSPNet searches its cell, then its paths; SEARCH-Net's data set has two classes, as its paper's."""
