"""What several of the published networks are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.operators.layers import ConvBnRelu


def resized(x: Tensor, like: Tensor) -> Tensor:
    """The map at the height and width of another, bilinear."""
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def pooled(x: Tensor, bins: int) -> Tensor:
    """Averages over about bins × bins windows of equal size, as PSPNet's first code pools: (N, C, ≤ bins, ≤ bins).

    The windows do not overlap, and all pixels are in one. Where the sides are not multiples of `bins`, there may be fewer.
    """
    kernel = (-(-x.shape[2] // bins), -(-x.shape[3] // bins))
    return functional.avg_pool2d(x, kernel, ceil_mode=True, count_include_pad=False)


class PyramidPooling(nn.Module):
    """Averages over 1, 2, 3 and 6 bins a side, each reduced to a quarter of the channels, beside the map itself.

    Source: PSPNet. Shape: (N, channels, H, W) to (N, out_channels, H, W).
    """

    BINS = (1, 2, 3, 6)

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(ConvBnRelu(channels, channels // len(self.BINS), 1) for _ in self.BINS)
        self.fuse = ConvBnRelu(2 * channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scales = [resized(reduce(pooled(x, bins)), x) for bins, reduce in zip(self.BINS, self.reduce, strict=True)]
        y: Tensor = self.fuse(torch.cat([x, *scales], dim=1))
        return y
