"""Plain convolutions: convolution, batch normalisation, ReLU, once or twice."""

from __future__ import annotations

from torch import Tensor, nn

from models.operators.registry import register
from models.spec.operators import OperatorSpec


def conv2d(
    in_channels: int, out_channels: int, kernel: int = 3, *, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """A convolution without bias, as batch normalisation follows; the output is the input's size divided by the stride,
    rounded up, for odd kernels.
    """
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(
        in_channels, out_channels, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=False
    )


class ConvBnRelu(nn.Module):
    """Convolution, batch normalisation, ReLU.

    Shape: input (N, in_channels, H, W); output (N, out_channels, ⌈H/stride⌉, ⌈W/stride⌉).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, *, stride: int = 1, groups: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = conv2d(in_channels, out_channels, kernel, stride=stride, groups=groups, dilation=dilation)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.bn1(self.conv1(x)))
        return y


class Conv3x3Twice(nn.Module):
    """Two 3×3 convolutions, each with batch normalisation and ReLU; the first has the stride.

    Shape: input (N, in_channels, H, W); output (N, out_channels, ⌈H/stride⌉, ⌈W/stride⌉).
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv2d(in_channels, out_channels, stride=stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv2d(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        z: Tensor = self.relu(self.bn2(self.conv2(y)))
        return z


@register("conv3x3")
def _conv3x3(spec: OperatorSpec) -> nn.Module:
    return ConvBnRelu(spec.in_channels, spec.out_channels, stride=spec.stride)


@register("conv3x3_x2")
def _conv3x3_x2(spec: OperatorSpec) -> nn.Module:
    return Conv3x3Twice(spec.in_channels, spec.out_channels, stride=spec.stride)


@register("conv_bn_relu")
def _conv_bn_relu(spec: OperatorSpec) -> nn.Module:
    return ConvBnRelu(
        spec.in_channels,
        spec.out_channels,
        int(spec.attributes["kernel"]),
        stride=spec.stride,
        groups=int(spec.attributes["groups"]),
        dilation=int(spec.attributes["dilation"]),
    )
