"""Torch modules of the operators that bring maps to one size and together. None of them has weights."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn

from models.operators.layers import Resize
from models.spec.operators import OperatorSpec


class Concat(nn.Module):
    """Concatenates maps over their channels.

    Shape: inputs (N, C_i, H, W); output (N, ΣC_i, H, W).
    """

    def forward(self, *maps: Tensor) -> Tensor:
        return torch.cat(maps, dim=1)


class Add(nn.Module):
    """Adds maps.

    Shape: inputs and output (N, C, H, W).
    """

    def forward(self, *maps: Tensor) -> Tensor:
        return reduce(torch.add, maps)


class Scale(nn.Module):
    """Multiplies a map by a gate.

    Shape: inputs (N, C, H, W) and (N, C, 1, 1) or (N, 1, H, W); output (N, C, H, W).
    """

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return torch.mul(x, gate)


class Part(nn.Module):
    """Some channels of a map, of all its pixels or of the first alone.

    Shape: input (N, C, H, W); output (N, stop - start, H, W), or (N, stop - start, 1, 1).
    """

    def __init__(self, start: int, stop: int, *, one_pixel: bool = False) -> None:
        super().__init__()
        self.start = start
        self.stop = stop
        self.one_pixel = one_pixel

    def forward(self, x: Tensor) -> Tensor:
        part = x[:, self.start : self.stop]
        return part[:, :, :1, :1] if self.one_pixel else part


def resize(spec: OperatorSpec) -> nn.Module:
    """Resizing to the output's size, up or down."""
    _, _, height, width = spec.output_shape
    return Resize.of(spec, (height, width))


def concat(_spec: OperatorSpec) -> nn.Module:
    """A concatenation of as many maps as it is given."""
    return Concat()


def add(_spec: OperatorSpec) -> nn.Module:
    """A sum of as many maps as it is given."""
    return Add()


def scale(_spec: OperatorSpec) -> nn.Module:
    """A map times its gate."""
    return Scale()
