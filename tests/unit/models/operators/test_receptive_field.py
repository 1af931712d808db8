from __future__ import annotations

from typing import Any

import pytest

from models.operators.costs import receptive_field
from models.spec.operators import OperatorSpec


def _field(kind: str, **fields: Any) -> tuple[int, int]:
    stride, attributes = fields.pop("stride", 1), fields
    spec = OperatorSpec(
        kind=kind, in_channels=64, out_channels=64, height=24, width=48, stride=stride, dtype="float16", attributes=attributes
    )
    return receptive_field(spec)


@pytest.mark.parametrize(
    ("kind", "fields", "side"),
    [
        ("conv_bn_relu", {}, 3),
        ("conv_bn_relu", {"groups": 2}, 3),
        ("conv_bn_relu", {"dilation": 2}, 5),  # holes in between count: the smallest rectangle around it
        ("conv_bn_relu", {"kernel": 7, "dilation": 3}, 19),
        ("conv_bn_relu", {"kernel": 1, "stride": 2}, 1),
        ("conv3x3_x2", {}, 5),
        ("conv3x3_x2", {"stride": 2}, 7),
        ("skip", {}, 1),
        ("zoomed_conv3x3", {"resize": "nearest"}, 5),  # three pixels, two apart
        ("zoomed_conv3x3", {"resize": "bilinear"}, 8),  # four of the half size, each between two of the input
        ("upsample", {"resize": "nearest"}, 1),
        ("upsample", {"resize": "bilinear"}, 2),
    ],
)
def test_what_the_kernels_and_resizes_say(kind: str, fields: dict[str, Any], side: int) -> None:
    assert _field(kind, **fields) == (side, side)


def test_it_does_not_reach_beyond_the_map() -> None:
    spec = OperatorSpec(kind="conv_bn_relu", in_channels=1, out_channels=1, height=4, width=40, attributes={"kernel": 9})
    assert receptive_field(spec) == (4, 9)
