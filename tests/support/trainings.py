"""What tests of training share: networks, data and configurations so small that an epoch takes a moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.spaces.fasterseg.genotype import BranchSpec
from models.spec.architectures import ArchitectureSpec
from nas_client.train.config import TrainConfig
from tests.support.fasterseg_networks import network

SIZE = (64, 64)


def small_architecture(*ends: int, classes: int = 19) -> ArchitectureSpec:
    """One branch of three cells for each of these ends; 8 and 32 by default."""
    scales = {8: (8, 8, 8), 16: (8, 8, 16), 32: (8, 16, 32)}
    kinds = {8: ("zoomed_conv3x3", "conv3x3", "skip"), 16: ("conv3x3",) * 3, 32: ("conv3x3", "zoomed_conv3x3", "conv3x3")}
    branches = [BranchSpec(operators=kinds[end], scales=scales[end], widths=(4, 8)) for end in ends or (8, 32)]
    return network(*branches, input_size=SIZE, classes=classes, base_channels=3)


def small_config(changes: Mapping[str, Any] | None = None, **top: Any) -> TrainConfig:
    """Three epochs of two steps.

    Args:
        changes: of nested fields, by dots: `{"data.train_images": 4}`.
        top: changes of the others.
    """
    data: dict[str, Any] = {
        "data": {"image_size": SIZE, "train_images": 9, "val_images": 3, "cache": True},
        "crop": (32, 64),
        "batch_size": 4,
        "epochs": 3,
        "label_stride": 8,
        "optimizer": {"lr": 0.05},
        "validation": {"batch_size": 3},
        **top,
    }
    for name, value in (changes or {}).items():
        group, field = name.split(".")
        data[group] = {**data.get(group, {}), field: value}
    return TrainConfig.parse(data)
