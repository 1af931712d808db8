"""UNet. Source: Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512, 1024)


class UNet(nn.Module):
    """Two 3×3 convolutions on each of five scales, down by maximum pooling, up by transposed convolutions with skips.

    As in the paper there is no batch normalisation. Unlike there, convolutions are padded, so that nothing is cropped.

    Shape: (N, channels, H, W) to (N, classes, H, W); H and W divisible by 16.
    """

    def __init__(self, classes: int = 19, channels: int = 3, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip((channels, *widths), widths, strict=False))
        self.pool = nn.MaxPool2d(2)
        pairs = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
        self.merge = nn.ModuleList(_twice(a, b) for a, b in pairs)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for index, down in enumerate(self.down):
            x = down(x if index == 0 else self.pool(x))
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat([skip, up(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits


def _twice(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.ReLU(inplace=True),
    )
