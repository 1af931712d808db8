"""BiSeNet with ResNet-18. Source: Yu et al., BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation, 2018.

The paper leaves widths open: a spatial path of 64, 64, 64 and 128 channels, attention refinement to 128 and fusion to 256 are
those of the authors' later code (TorchSeg). The two auxiliary heads serve training alone and are left out.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.networks.baselines.parts import resized
from models.operators.layers import ConvBnRelu, conv2d


class BiSeNet(nn.Module):
    """A spatial path at 1/8, a context path down to 1/32, and their fusion.

    Shape: (N, channels, H, W) to (N, classes, H, W); H and W divisible by 32.
    """

    def __init__(self, classes: int = 19, channels: int = 3) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            ConvBnRelu(channels, 64, 7, stride=2),
            ConvBnRelu(64, 64, stride=2),
            ConvBnRelu(64, 64, stride=2),
            ConvBnRelu(64, 128, 1),
        )
        self.stem = nn.Sequential(ConvBnRelu(channels, 64, 7, stride=2), nn.MaxPool2d(3, stride=2, padding=1))
        widths = (64, 64, 128, 256, 512)
        self.stages = nn.ModuleList(
            nn.Sequential(BasicBlock(a, b, 1 if index == 0 else 2), BasicBlock(b, b, 1))
            for index, (a, b) in enumerate(pairwise(widths))
        )
        self.tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvBnRelu(512, 128, 1))
        self.refine32, self.refine16 = AttentionRefinement(512, 128), AttentionRefinement(256, 128)
        self.smooth32, self.smooth16 = ConvBnRelu(128, 128), ConvBnRelu(128, 128)
        self.fuse = FeatureFusion(256, 256)
        self.head = nn.Sequential(ConvBnRelu(256, 64), nn.Conv2d(64, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        *_, at16, at32 = maps
        context = self.refine32(at32) + resized(self.tail(at32), at32)
        context = self.smooth32(resized(context, at16))
        context = self.refine16(at16) + context
        spatial = self.spatial(x)
        context = self.smooth16(resized(context, spatial))
        return resized(self.head(self.fuse(spatial, context)), x)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a residual, as in ResNet-18. Shape: (N, in, H, W) to (N, out, H/stride, W/stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.first = ConvBnRelu(in_channels, out_channels, stride=stride)
        self.second = nn.Sequential(conv2d(out_channels, out_channels), nn.BatchNorm2d(out_channels))
        self.shortcut = (
            nn.Identity()
            if stride == 1 and in_channels == out_channels
            else nn.Sequential(conv2d(in_channels, out_channels, 1, stride=stride), nn.BatchNorm2d(out_channels))
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.shortcut(x) + self.second(self.first(x)))
        return y


class AttentionRefinement(nn.Module):
    """A 3×3 convolution whose channels are weighted by their averages. Shape: (N, in, H, W) to (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvBnRelu(in_channels, out_channels)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv2d(out_channels, out_channels, 1), nn.BatchNorm2d(out_channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y: Tensor = x * self.gate(x)
        return y


class FeatureFusion(nn.Module):
    """Joins two maps and weights the channels of the result. Shape: two maps of in_channels together to (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.join = ConvBnRelu(in_channels, out_channels, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            conv2d(out_channels, out_channels // 4, 1),
            nn.ReLU(inplace=True),
            conv2d(out_channels // 4, out_channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        x = self.join(torch.cat([spatial, context], dim=1))
        y: Tensor = x + x * self.gate(x)
        return y
