"""The form of skips in a supernet: a convolution, or a factorised one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.operators.skips import FactorisedSkip, halves, shifted
from models.spec.operators import OperatorSpec
from models.supernets.mixed_operators import SuperConv2d, SuperOperator, WidthBatchNorm2d


class SuperFactorisedSkip(nn.Module):
    """A factorised skip over superkernels: every width takes the leading channels of both.

    Shape: input (N, C, H, W), C up to the largest input width; output (N, out_channels of the call, ⌈H/2⌉, ⌈W/2⌉).

    Args:
        spec: its kind; its channels and size do not count.
        in_channels: widths of the input.
        out_channels: widths of the output.

    Source: FasterSeg's published code.
    """

    def __init__(self, spec: OperatorSpec, in_channels: Iterable[int], out_channels: Iterable[int]) -> None:
        super().__init__()
        widths = sorted(set(out_channels))
        first, second = halves(widths[-1])
        self.kind, self.stride = spec.kind, spec.stride
        self.conv1 = SuperConv2d(max(in_channels), first, kernel=1, stride=2)
        self.conv2 = SuperConv2d(max(in_channels), second, kernel=1, stride=2)
        self.bn1 = WidthBatchNorm2d(widths)

    def forward(self, x: Tensor, out_channels: int) -> Tensor:
        first, second = halves(out_channels)
        moved = shifted(x, (x.shape[2], x.shape[3]))
        y: Tensor = self.bn1(torch.cat([self.conv1(x, first), self.conv2(moved, second)], dim=1))
        return functional.relu(y, inplace=True)

    @torch.no_grad()
    def copy_to(self, operator: nn.Module) -> None:
        """Gives the fixed operator the weights that its widths use here; an identity has none."""
        if isinstance(operator, nn.Identity):
            return
        fixed = cast("FactorisedSkip", operator)
        self.conv1.copy_to(fixed.conv1)
        self.conv2.copy_to(fixed.conv2)
        first = fixed.bn1.num_features
        both = self.bn1.at(first + fixed.bn2.num_features).state_dict()
        for norm, part in ((fixed.bn1, slice(None, first)), (fixed.bn2, slice(first, None))):
            norm.load_state_dict({name: value[part] if value.ndim else value for name, value in both.items()})


def skip_form(spec: OperatorSpec, in_channels: Iterable[int], out_channels: Iterable[int]) -> nn.Module:
    """The form of that skip. Both kinds are convolutions throughout, also where the fixed skip is the identity."""
    form = SuperFactorisedSkip if spec.attributes.get("factorised") else SuperOperator
    return form(spec, in_channels, out_channels)
