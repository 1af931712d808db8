"""Superkernels: one convolution for all widths, of which narrower ones use the leading channels.

Source: FasterSeg §3.1.3; batch normalisation per width as in Slimmable Networks (Yu et al., ICLR 2019).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class SuperConv2d(nn.Module):
    """A convolution without bias whose output width is chosen at every call; the input's width is that of the input.

    Shape: input (N, C ≤ in_channels, H, W); output (N, out_channels of the call, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        in_channels, out_channels: of the largest kernel.
        kernel: odd side length.
        stride: of the convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, *, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor, out_channels: int) -> Tensor:
        weight = self.slice(x.shape[1], out_channels)
        return functional.conv2d(x, weight, stride=self.stride, padding=self.kernel // 2)

    def slice(self, in_channels: int, out_channels: int) -> Tensor:
        """The kernel at those widths, a view. Shape: (out_channels, in_channels, kernel, kernel)."""
        return self.weight[:out_channels, :in_channels]

    @torch.no_grad()
    def copy_to(self, convolution: nn.Conv2d) -> None:
        """Gives a convolution of fixed widths the leading channels of this kernel."""
        convolution.weight.copy_(self.slice(convolution.in_channels, convolution.out_channels))

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, kernel={self.kernel}, stride={self.stride}"


class WidthBatchNorm2d(nn.Module):
    """Batch normalisation with statistics and an affine part of their own for every width.

    Shape: input and output (N, C, H, W), C being one of the widths.

    Args:
        widths: channel counts.
    """

    def __init__(self, widths: Iterable[int]) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({str(width): nn.BatchNorm2d(width) for width in sorted(set(widths))})

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.at(x.shape[1])(x)
        return y

    def at(self, width: int) -> nn.BatchNorm2d:
        """The normalisation of that width."""
        return cast("nn.BatchNorm2d", self.norms[str(width)])

    def copy_to(self, norm: nn.BatchNorm2d) -> None:
        """Gives a normalisation of fixed width the affine part and statistics of that width."""
        norm.load_state_dict(self.at(norm.num_features).state_dict())
