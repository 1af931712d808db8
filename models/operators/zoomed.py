"""Zoomed convolutions: convolutions at half resolution, between two resizes.

Source: FasterSeg §3.1, Table 1: a larger receptive field in less time than a plain convolution.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.operators.convolution import conv2d
from models.operators.registry import register
from models.operators.resize import Resize
from models.spec.operators import OperatorSpec


def zoomed_side(side: int, stride: int) -> int:
    """Height or width at which the convolutions run, from the input's.

    Half the input, rounded down as in the published code, but never empty. At stride 2 it is the output's, which every kind
    rounds up.
    """
    return -(-side // 2) if stride == 2 else max(1, side // 2)


def _zoomed_size(spec: OperatorSpec) -> tuple[int, int]:
    return zoomed_side(spec.height, spec.stride), zoomed_side(spec.width, spec.stride)


def _zoom_back(spec: OperatorSpec) -> nn.Module:
    """From the zoomed size to the output's; at stride 2 they are one."""
    return nn.Identity() if spec.stride == 2 else Resize.of(spec, (spec.height, spec.width))


@register("zoomed_conv3x3")
class ZoomedConv3x3(nn.Module):
    """Resize by ½, 3×3 convolution, batch normalisation, resize by 2 unless the stride is 2, ReLU.

    Shape: input `spec.input_shape`; output `spec.output_shape`.
    """

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.down = Resize.of(spec, _zoomed_size(spec))
        self.conv1 = conv2d(spec.in_channels, spec.out_channels)
        self.bn1 = nn.BatchNorm2d(spec.out_channels)
        self.up = _zoom_back(spec)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(self.down(x)))
        z: Tensor = self.relu(self.up(y))
        return z


@register("zoomed_conv3x3_x2")
class ZoomedConv3x3Twice(nn.Module):
    """As `ZoomedConv3x3`, with two convolutions and a ReLU between them.

    Shape: input `spec.input_shape`; output `spec.output_shape`.
    """

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.down = Resize.of(spec, _zoomed_size(spec))
        self.conv1 = conv2d(spec.in_channels, spec.out_channels)
        self.bn1 = nn.BatchNorm2d(spec.out_channels)
        self.conv2 = conv2d(spec.out_channels, spec.out_channels)
        self.bn2 = nn.BatchNorm2d(spec.out_channels)
        self.up = _zoom_back(spec)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(self.down(x))))
        y = self.bn2(self.conv2(y))
        z: Tensor = self.relu(self.up(y))
        return z
