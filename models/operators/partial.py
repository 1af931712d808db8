"""Torch modules of operators that may work on a part of a map's channels (`models.spec.partial_kinds`)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.operators.layers import ConvBnRelu, conv2d
from models.spec.operators import OperatorSpec


class Partial(nn.Module):
    """An operator on the first channels of a map; the others are appended untouched.

    Shape: input and output (N, C, H, W).

    Args:
        operator: keeps its channels and size.
        channels: how many pass through it.

    Source: RSPNet, eq. 9.
    """

    def __init__(self, operator: nn.Module, channels: int) -> None:
        super().__init__()
        self.operator = operator
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.operator(x[:, : self.channels]), x[:, self.channels :]], dim=1)


class Depthwise3x3(nn.Module):
    """A 3×3 convolution of each channel by itself, then a 1×1 convolution; each with batch normalisation and ReLU. Without the
    second, channels would never mix.

    Shape: input and output (N, channels, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv2d(channels, channels, groups=channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv2d(channels, channels, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        z: Tensor = self.relu(self.bn2(self.conv2(y)))
        return z


class Path(nn.Module):
    """A 1×1 convolution of a map's first channels, with batch normalisation and ReLU.

    Shape: input (N, in_channels, H, W); output (N, out_channels, H, W).
    """

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.channels = _inside(spec)
        self.convolution = ConvBnRelu(self.channels, spec.out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolution(x[:, : self.channels])
        return y


class LastChannels(nn.Module):
    """The last channels of a map, as many as the output has.

    Shape: input (N, in_channels, H, W); output (N, out_channels, H, W).
    """

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.first = spec.in_channels - spec.out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.first :]


def conv1x1(spec: OperatorSpec) -> nn.Module:
    """A 1×1 convolution with batch normalisation and ReLU, of a part of the channels."""
    return _of_part(spec, lambda channels: ConvBnRelu(channels, channels, 1))


def conv3x3(spec: OperatorSpec) -> nn.Module:
    """The same, 3×3."""
    return _of_part(spec, lambda channels: ConvBnRelu(channels, channels, 3))


def conv5x5(spec: OperatorSpec) -> nn.Module:
    """The same, 5×5."""
    return _of_part(spec, lambda channels: ConvBnRelu(channels, channels, 5))


def dilated3x3(spec: OperatorSpec) -> nn.Module:
    """The same, 3×3 with dilation 2."""
    return _of_part(spec, lambda channels: ConvBnRelu(channels, channels, 3, dilation=2))


def depthwise3x3(spec: OperatorSpec) -> nn.Module:
    """A depthwise and a pointwise convolution of a part of the channels."""
    return _of_part(spec, Depthwise3x3)


def identity(_spec: OperatorSpec) -> nn.Module:
    """Nothing."""
    return nn.Identity()


def classifier(spec: OperatorSpec) -> nn.Module:
    """A 1×1 convolution with bias."""
    return nn.Conv2d(spec.in_channels, spec.out_channels, 1)


def _inside(spec: OperatorSpec) -> int:
    """Channels that pass through the operator."""
    return -(-spec.in_channels // int(spec.attributes["part"]))


def _of_part(spec: OperatorSpec, make: Callable[[int], nn.Module]) -> nn.Module:
    channels = _inside(spec)
    operator = make(channels)
    return operator if channels == spec.in_channels else Partial(operator, channels)
