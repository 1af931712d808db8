"""Torch modules of the operators of DARTS' cells. Each begins with its ReLU, which leaves its input as it is.

Source: Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, and its published code.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.operators.layers import conv2d
from models.spec.operators import OperatorSpec


class SepConv(nn.Module):
    """ReLU, depthwise and 1×1 convolution, batch normalisation, twice. The first depthwise convolution has the stride.

    Shape: input `spec.input_shape`; output `spec.output_shape`.
    """

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        entering, leaving, kernel = spec.in_channels, spec.out_channels, int(spec.attributes["kernel"])
        self.relu1 = nn.ReLU()
        self.depthwise1 = conv2d(entering, entering, kernel, stride=spec.stride, groups=entering)
        self.pointwise1 = conv2d(entering, entering, 1)
        self.bn1 = nn.BatchNorm2d(entering)
        self.relu2 = nn.ReLU(inplace=True)
        self.depthwise2 = conv2d(entering, entering, kernel, groups=entering)
        self.pointwise2 = conv2d(entering, leaving, 1)
        self.bn2 = nn.BatchNorm2d(leaving)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.pointwise1(self.depthwise1(self.relu1(x))))
        z: Tensor = self.bn2(self.pointwise2(self.depthwise2(self.relu2(y))))
        return z


class DilConv(nn.Module):
    """ReLU, depthwise convolution of dilation 2 with the stride, 1×1 convolution, batch normalisation.

    Shape: input `spec.input_shape`; output `spec.output_shape`.
    """

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        entering, kernel = spec.in_channels, int(spec.attributes["kernel"])
        self.relu = nn.ReLU()
        self.depthwise = conv2d(entering, entering, kernel, stride=spec.stride, groups=entering, dilation=2)
        self.pointwise = conv2d(entering, spec.out_channels, 1)
        self.bn = nn.BatchNorm2d(spec.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.pointwise(self.depthwise(self.relu(x))))
        return y


class Reduce(nn.Module):
    """ReLU, 1×1 convolution with the stride, batch normalisation.

    DARTS' code has two such convolutions of half the width, the second on the map shifted by a pixel; one is ours, as for the
    kind `skip`.

    Shape: input `spec.input_shape`; output `spec.output_shape`.
    """

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv = conv2d(spec.in_channels, spec.out_channels, 1, stride=spec.stride)
        self.bn = nn.BatchNorm2d(spec.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(self.relu(x)))
        return y


def skip_connect(spec: OperatorSpec) -> nn.Module:
    """The identity if input and output have one shape, in supernets too; else `Reduce`."""
    return nn.Identity() if spec.input_shape == spec.output_shape else Reduce(spec)


def max_pool(spec: OperatorSpec) -> nn.Module:
    """The maximum of each 3×3 window; at stride 2 sides are halved and rounded up."""
    return nn.MaxPool2d(3, stride=spec.stride, padding=1)
