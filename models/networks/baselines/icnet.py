"""ICNet. Source: Zhao et al., ICNet for Real-Time Semantic Segmentation on High-Resolution Images, 2018.

Layers and widths are those of the published Caffe model: a PSPNet-50 of half the width. The branches of two and four share
their first layers. The auxiliary heads serve training alone and are left out.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from models.networks.baselines.parts import PyramidPooling, pooled, resized
from models.operators.layers import ConvBnRelu, conv2d


class ICNet(nn.Module):
    """Three branches: the whole image through three convolutions, half of it down to 1/16, a quarter to 1/32; then a cascade.

    Shape: (N, channels, H, W) to (N, classes, H, W); H and W divisible by 32.
    """

    def __init__(self, classes: int = 19, channels: int = 3) -> None:
        super().__init__()
        self.branch1 = nn.Sequential(
            ConvBnRelu(channels, 32, stride=2), ConvBnRelu(32, 32, stride=2), ConvBnRelu(32, 64, stride=2)
        )
        self.branch2 = nn.Sequential(
            ConvBnRelu(channels, 32, stride=2),
            ConvBnRelu(32, 32),
            ConvBnRelu(32, 64),
            nn.MaxPool2d(3, stride=2, padding=1),
            *_stage(64, 128, 3),
            Bottleneck(128, 256, stride=2),
        )
        self.branch4 = nn.Sequential(
            *(Bottleneck(256, 256) for _ in range(3)), *_stage(256, 512, 6, dilation=2), *_stage(512, 1024, 3, dilation=4)
        )
        self.reduce = ConvBnRelu(1024, 256, 1)
        self.fuse4 = CascadeFusion(256, 256)
        self.fuse2 = CascadeFusion(128, 64)
        self.head = nn.Conv2d(128, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        at16 = self.branch2(_halved(x))
        at32 = self.branch4(_halved(at16))
        at32 = self.reduce(at32 + sum(resized(pooled(at32, bins), at32) for bins in PyramidPooling.BINS))
        fused = self.fuse2(self.fuse4(at32, at16), self.branch1(x))
        logits = self.head(functional.interpolate(fused, scale_factor=2, mode="bilinear"))
        return resized(logits, x)


def _halved(x: Tensor) -> Tensor:
    return functional.interpolate(x, size=(x.shape[2] // 2, x.shape[3] // 2), mode="bilinear", align_corners=False)


def _stage(in_channels: int, out_channels: int, count: int, *, dilation: int = 1) -> list[Bottleneck]:
    return [Bottleneck(out_channels if index else in_channels, out_channels, dilation=dilation) for index in range(count)]


class Bottleneck(nn.Module):
    """ResNet's, a quarter of the channels inside. Shape: (N, in_channels, H, W) to (N, out_channels, H/stride, W/stride)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        inner = out_channels // 4
        self.body = nn.Sequential(
            ConvBnRelu(in_channels, inner, 1, stride=stride),
            ConvBnRelu(inner, inner, dilation=dilation),
            conv2d(inner, out_channels, 1),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Sequential(conv2d(in_channels, out_channels, 1, stride=stride), nn.BatchNorm2d(out_channels))
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.shortcut(x) + self.body(x))
        return y


class CascadeFusion(nn.Module):
    """The paper's CFF unit: the coarse map doubled and convolved (dilated 2), the fine one projected, their sum.

    Shape: coarse (N, coarse_channels, H, W) and fine (N, fine_channels, 2·H, 2·W) to (N, 128, 2·H, 2·W).
    """

    def __init__(self, coarse_channels: int, fine_channels: int) -> None:
        super().__init__()
        self.coarse = nn.Sequential(conv2d(coarse_channels, 128, dilation=2), nn.BatchNorm2d(128))
        self.fine = nn.Sequential(conv2d(fine_channels, 128, 1), nn.BatchNorm2d(128))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return functional.relu(self.coarse(resized(coarse, fine)) + self.fine(fine))
