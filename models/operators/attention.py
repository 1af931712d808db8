"""Torch modules of attention by recurrences: what M-FasterSeg adds to FasterSeg's operators."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.operators.recurrence import DIRECTIONS, FourDirections
from models.spec.operators import OperatorSpec


class Irnn(nn.Module):
    """A projection, the ReLU recurrence in four directions, and a convolution that merges them.

    Batch normalisation follows the convolution (ours): a recurrence adds up a whole row, so that values grow with the size of
    the map. At inference it is part of the convolution.

    Shape: input (N, in_channels, H, W), optionally with maps (N, 4, H, W) that weigh the directions; output
    (N, out_channels, H, W).

    Args:
        in_channels, out_channels: of the operator.
        shared: whether the directions see one projection, as in the works that M-FasterSeg stands on, or each its own.
        length: the longer side of the map that seeded weights are for.

    Attributes:
        in_channels, out_channels: as given.

    Source: Bell et al. 2016; M-FasterSeg eq. 4.
    """

    def __init__(self, in_channels: int, out_channels: int, *, shared: bool, length: int = 1) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.length = in_channels, out_channels, length
        count = len(DIRECTIONS)
        self.project = nn.Conv2d(in_channels, in_channels if shared else count * in_channels, kernel_size=1)
        self.recur = FourDirections(shared=shared)
        self.merge = nn.Conv2d(count * in_channels, out_channels, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, maps: Tensor | None = None) -> Tensor:
        projected = self.project(x)
        directions = self.recur(projected) if maps is None else self.recur(projected, maps)
        y: Tensor = self.norm(self.merge(directions))
        return y

    def after_fill(self) -> None:
        """A variance as of sums over the map's longer side, so that values stay small whatever its size: half precision would
        overflow.
        """
        assert self.norm.running_var is not None
        self.norm.running_var.mul_(max(1, self.length // 4) ** 2)


class ChannelGate(nn.Module):
    """Squeeze, excitation and scale: channels weighted by what their averages say.

    Shape: input and output (N, C, H, W).

    Source: M-FasterSeg eqs. 1 to 3; Hu et al. 2018, whose reduction is 16.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        narrow = max(1, channels // reduction)
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, narrow, kernel_size=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.restore = nn.Conv2d(narrow, channels, kernel_size=1, bias=False)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return torch.mul(x, self.gate(self.restore(self.relu(self.reduce(self.squeeze(x))))))


class AdaptiveAttention(nn.Module):
    """Rounds of recurrences in four directions, weighted pixel by pixel and channel by channel, added to the input.

    One branch of convolutions makes a map for each direction, which weighs it in every round: 3×3 to half the channels, ReLU,
    3×3, ReLU, 1×1 to the four maps, sigmoid. The paper draws that branch and does not state its sizes; these are those of
    direction-aware spatial context (Hu et al. 2018), on which it stands.

    Shape: input and output (N, channels, H, W).

    Args:
        channels: of the map.
        rounds: of recurrences; the second sees what the first gathered, and so every pixel.
        reduction: of the channel gate.
        shared, length: see `Irnn`.

    Attributes:
        in_channels, out_channels: the channels.

    Source: M-FasterSeg, section 3.1, Figures 2 and 5.
    """

    def __init__(self, channels: int, *, rounds: int, reduction: int, shared: bool, length: int = 1) -> None:
        super().__init__()
        self.in_channels = self.out_channels = channels
        half = max(1, channels // 2)
        self.maps = nn.Sequential(
            nn.Conv2d(channels, half, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, half, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, len(DIRECTIONS), kernel_size=1),
            nn.Sigmoid(),
        )
        self.rounds = nn.ModuleList(Irnn(channels, channels, shared=shared, length=length) for _ in range(rounds))
        self.gate = ChannelGate(channels, reduction)
        self.relu = nn.ReLU()
        self.result = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        maps, y = self.maps(x), x
        for each in self.rounds:
            y = each(y, maps)
        z: Tensor = self.result(self.relu(self.gate(y)) + x)
        return z


def irnn(spec: OperatorSpec) -> nn.Module:
    """One round of recurrences, without weights for the directions."""
    length = max(spec.height, spec.width)
    return Irnn(spec.in_channels, spec.out_channels, shared=bool(spec.attributes["shared"]), length=length)


def adaptive_attention(spec: OperatorSpec) -> nn.Module:
    """The attention module as its attributes say."""
    attributes = spec.attributes
    return AdaptiveAttention(
        spec.in_channels,
        rounds=int(attributes["rounds"]),
        reduction=int(attributes["reduction"]),
        shared=bool(attributes["shared"]),
        length=max(spec.height, spec.width),
    )
