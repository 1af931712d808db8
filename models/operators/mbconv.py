"""The inverted bottleneck with squeeze and excitation."""

from __future__ import annotations

from torch import Tensor, nn

from models.operators.layers import conv2d
from models.spec.bounds import SQUEEZE
from models.spec.operators import OperatorSpec


class MBConv(nn.Module):
    """1×1 convolution to more channels, depthwise convolution with the stride, a gate per channel, 1×1 convolution; and the
    input added where shapes allow. Batch normalisation follows each convolution, an activation the first two.

    The gate looks at the means over the map: 1×1 to a quarter of `in_channels`, activation, 1×1 back, sigmoid.

    Shape: input `spec.input_shape`; output `spec.output_shape`.

    Source: Sandler et al., MobileNetV2, 2018; squeeze and excitation as in EfficientNet (Tan and Le, 2019).
    """

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        attributes = spec.attributes
        inner = int(attributes["expansion"]) * spec.in_channels
        squeezed = max(1, spec.in_channels // SQUEEZE)
        smooth = attributes["activation"] == "silu"
        self.residual = spec.input_shape == spec.output_shape
        self.expand = conv2d(spec.in_channels, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.act1 = _activation(smooth)
        self.depthwise = conv2d(inner, inner, int(attributes["kernel"]), stride=spec.stride, groups=inner)
        self.bn2 = nn.BatchNorm2d(inner)
        self.act2 = _activation(smooth)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(inner, squeezed, 1),
            _activation(smooth),
            nn.Conv2d(squeezed, inner, 1),
            nn.Sigmoid(),
        )
        self.project = conv2d(inner, spec.out_channels, 1)
        self.bn3 = nn.BatchNorm2d(spec.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn1(self.expand(x)))
        y = self.act2(self.bn2(self.depthwise(y)))
        z: Tensor = self.bn3(self.project(y * self.gate(y)))
        return x + z if self.residual else z


def _activation(smooth: bool) -> nn.Module:
    return nn.SiLU(inplace=True) if smooth else nn.ReLU(inplace=True)
