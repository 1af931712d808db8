"""Torch modules around an operator: what stands before and after it when it is timed (docs/measurement.md)."""

from __future__ import annotations

from collections import OrderedDict
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from models.operators.joins import Part
from models.operators.seeded_weights import fill
from models.spec.graphs import PREFIX_CHANNELS, ContextBase
from models.spec.kinds import kind_info
from models.spec.operators import OperatorSpec


def in_context(operator: nn.Module, spec: OperatorSpec, *, has_suffix: bool) -> nn.Module:
    """The operator between its prefix and suffix, in evaluation mode; the prefix is that of its base."""
    base = ContextBase.of(spec)
    channels = spec.source_channels
    if len(channels) > 1:
        return JoinContext(_prefixes(base, channels), operator, averaged=bool(base.sources)).eval()
    suffix = {"suffix": nn.AdaptiveAvgPool2d(1)} if has_suffix else {}
    return _sequence(prefix=_prefix(base), operator=operator, **suffix)


def base_module(base: ContextBase) -> nn.Module:
    """Prefix and suffix alone, in evaluation mode."""
    if base.sources:
        return JoinContext(_prefixes(base, base.sources), None, averaged=True).eval()
    return _sequence(prefix=_prefix(base), suffix=nn.AdaptiveAvgPool2d(1))


def isolated(operator: nn.Module, spec: OperatorSpec) -> nn.Module:
    """The operator by itself, in evaluation mode; several sources are cut out of one input."""
    channels = spec.source_channels
    if len(channels) == 1:
        return operator
    if kind_info(spec.kind).sources == "gate":
        gate = Part(0, channels[1], one_pixel=spec.attributes["gate"] == "channel")
        return CutInput(nn.ModuleList([nn.Identity(), gate]), operator).eval()
    bounds = pairwise(accumulate(channels, initial=0))
    return CutInput(nn.ModuleList(Part(start, stop) for start, stop in bounds), operator).eval()


class JoinContext(nn.Module):
    """Prefixes that each make a source, the operator that joins them, and the average of its output.

    With `averaged`, every source but the first is averaged too. Then the launches are those of the base, in which the first
    source is averaged in place of the operator's output, and the operator's. The first source is read by the operator alone,
    so that a runtime may fuse the two as it does in networks.

    Shape: input (N, PREFIX_CHANNELS, H, W); output (N, C, 1, 1), C being the channels of the averaged maps together.

    Args:
        prefixes: one for each source.
        operator: that joins them; None for the base.
        averaged: whether sources are averaged beside the output.
    """

    def __init__(self, prefixes: nn.ModuleList, operator: nn.Module | None, *, averaged: bool) -> None:
        super().__init__()
        self.prefixes = prefixes
        self.operator = operator
        self.averaged = averaged
        self.suffix = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = [prefix(x) for prefix in self.prefixes]
        joined = first if self.operator is None else self.operator(first, *others)
        if not self.averaged:
            y: Tensor = self.suffix(joined)
            return y
        return torch.cat([self.suffix(y) for y in (joined, *others)], dim=1)


class CutInput(nn.Module):
    """An operator whose sources are parts of one input.

    Shape: input (N, C, H, W); output the operator's.
    """

    def __init__(self, parts: nn.ModuleList, operator: nn.Module) -> None:
        super().__init__()
        self.parts = parts
        self.operator = operator

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.operator(*(part(x) for part in self.parts))
        return y


def _prefix(base: ContextBase) -> nn.Module:
    with torch.device("meta"):
        module = nn.Conv2d(PREFIX_CHANNELS, base.channels, kernel_size=1)
    return fill(module, base.key())


def _prefixes(base: ContextBase, sources: tuple[int, ...]) -> nn.ModuleList:
    """One convolution for each source. A gate for channels is made from an average of the input, as networks make it."""
    with torch.device("meta"):
        prefixes: list[nn.Module] = [nn.Conv2d(PREFIX_CHANNELS, channels, kernel_size=1) for channels in sources]
        if base.gate == "channel":
            prefixes[1] = nn.Sequential(nn.AdaptiveAvgPool2d(1), prefixes[1])
        module = nn.ModuleList(prefixes)
    return fill(module, base.key())


def _sequence(**parts: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(parts)).eval()
