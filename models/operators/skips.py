"""Torch modules of skips: the identity, a convolution, or a factorised one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.operators.layers import ConvBnRelu, conv2d
from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec


def skip(spec: OperatorSpec) -> nn.Module:
    """The identity if input and output have one shape; else a 1×1 convolution with the stride, batch normalisation, ReLU. With
    stride 2 it may be factorised.

    Source: FasterSeg §3.1; its code calls the last two forms FactorizedReduce.

    Raises:
        InvalidSpecError: it is factorised, and its one output channel cannot be halved.
    """
    if spec.input_shape == spec.output_shape:
        return nn.Identity()
    if spec.attributes.get("factorised"):
        return FactorisedSkip(spec)
    return ConvBnRelu(spec.in_channels, spec.out_channels, kernel=1, stride=spec.stride)


class FactorisedSkip(nn.Module):
    """Two 1×1 convolutions of half the width and stride 2, the second on the map shifted by a pixel; batch normalisation, ReLU.

    Batch normalisation, which looks at each channel by itself, is written as two, so that each folds into its convolution.

    Shape: input (N, in_channels, H, W); output (N, out_channels, ⌈H/2⌉, ⌈W/2⌉).

    Source: FactorizedReduce in FasterSeg's published code, where sides are even.
    """

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        first, second = halves(spec.out_channels)
        self.size = (spec.height, spec.width)
        self.conv1 = conv2d(spec.in_channels, first, kernel=1, stride=2)
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = conv2d(spec.in_channels, second, kernel=1, stride=2)
        self.bn2 = nn.BatchNorm2d(second)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.bn1(self.conv1(x)), self.bn2(self.conv2(shifted(x, self.size)))
        y: Tensor = self.relu(torch.cat([first, second], dim=1))
        return y


def halves(channels: int) -> tuple[int, int]:
    """The channels of a factorised skip's two convolutions; of an odd number the second has one more.

    Raises:
        InvalidSpecError: there is but one.
    """
    if channels < 2:
        raise InvalidSpecError(
            f"out_channels {channels}: a factorised skip has two convolutions of half the width", hint="Take 2 or more."
        )
    return channels // 2, channels - channels // 2


def shifted(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The map without its first row and column. Where their number is odd, zeros follow at the end, so that every second pixel
    gives as many as without the shift. A direction of one pixel stays as it is.

    Shape: (N, C, *size) to (N, C, about one less each).
    """
    height, width = size
    y = x[:, :, int(height > 1) :, int(width > 1) :]
    below, beside = (int(side > 1 and side % 2 == 1) for side in size)
    return functional.pad(y, (0, beside, 0, below)) if below or beside else y
