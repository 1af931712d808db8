"""Fast-SCNN. Source: Poudel et al., Fast-SCNN: Fast Semantic Segmentation Network, 2019, table 1."""

from __future__ import annotations

from torch import Tensor, nn

from models.networks.baselines.parts import PyramidPooling, resized
from models.operators.layers import ConvBnRelu, conv2d


class FastSCNN(nn.Module):
    """Learning to downsample, a global feature extractor on it at 1/32, their fusion at 1/8, and a classifier.

    Shape: (N, channels, H, W) to (N, classes, H, W); H and W divisible by 32.
    """

    def __init__(self, classes: int = 19, channels: int = 3) -> None:
        super().__init__()
        self.downsample = nn.Sequential(ConvBnRelu(channels, 32, stride=2), _separable(32, 48, 2), _separable(48, 64, 2))
        self.extract = nn.Sequential(
            *_bottlenecks(64, 64, 3, stride=2),
            *_bottlenecks(64, 96, 3, stride=2),
            *_bottlenecks(96, 128, 3, stride=1),
            PyramidPooling(128, 128),
        )
        self.fuse_high = _projected(64, 128)
        self.fuse_low = nn.Sequential(ConvBnRelu(128, 128, groups=128, dilation=4), *_projected(128, 128))
        self.relu = nn.ReLU(inplace=True)
        self.classify = nn.Sequential(_separable(128, 128, 1), _separable(128, 128, 1), nn.Conv2d(128, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        high = self.downsample(x)
        low = resized(self.extract(high), high)
        fused = self.relu(self.fuse_high(high) + self.fuse_low(low))
        return resized(self.classify(fused), x)


class Bottleneck(nn.Module):
    """Inverted residual of MobileNetV2, expansion 6. Shape: (N, in_channels, H, W) to (N, out_channels, H/stride, W/stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        inner = 6 * in_channels
        self.residual = stride == 1 and in_channels == out_channels
        self.body = nn.Sequential(
            ConvBnRelu(in_channels, inner, 1),
            ConvBnRelu(inner, inner, stride=stride, groups=inner),
            *_projected(inner, out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.residual else y


def _bottlenecks(in_channels: int, out_channels: int, count: int, *, stride: int) -> list[Bottleneck]:
    return [Bottleneck(out_channels if index else in_channels, out_channels, 1 if index else stride) for index in range(count)]


def _projected(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))


def _separable(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        ConvBnRelu(in_channels, in_channels, stride=stride, groups=in_channels), ConvBnRelu(in_channels, out_channels, 1)
    )
