"""From the branches' ends back to the finest scale, and from there to classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.operators.layers import ConvBnRelu, build_operator
from models.spec.operators import OperatorSpec
from models.supernets.mixed_operators import SuperOperator


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resizing with aligned corners, as in joins of fixed networks. A map of that size is returned unchanged."""
    if (x.shape[2], x.shape[3]) == size:
        return x
    return functional.interpolate(x, size, mode="bilinear", align_corners=True)


def key(alternative: str) -> str:
    """An alternative as a module's name, which has no dots: `8_16` for `8,16`, and `all` where there is nothing to choose."""
    return re.sub(r"[,.]", "_", alternative) or "all"


def label_of(branches: Sequence[int]) -> str:
    """The label of branches that end at those scales: `8,16`."""
    return ",".join(map(str, branches))


class WayBack(nn.Module):
    """One branch's way to the finest scale: reduce, resize ×2, concatenate with its last map at that scale, refine.

    Args:
        channels: of a branch's end at each scale, from the finest to this branch's own.
        skipped: widths of a last map at each scale but the coarsest.

    Source: FasterSeg, Appendix A.
    """

    def __init__(self, channels: Mapping[int, int], skipped: Mapping[int, Sequence[int]]) -> None:
        super().__init__()
        self.scales = tuple(channels)[-2::-1]
        self.reduce = nn.ModuleDict()
        self.refine = nn.ModuleDict()
        for scale in self.scales:
            narrow = channels[scale]
            self.reduce[str(scale)] = ConvBnRelu(channels[2 * scale], narrow, kernel=1)
            spec = OperatorSpec(kind="conv3x3", in_channels=narrow, out_channels=narrow, height=1, width=1)
            self.refine[str(scale)] = SuperOperator(spec, [narrow + width for width in skipped[scale]], [narrow])
        self.channels = dict(channels)

    def forward(self, x: Tensor, last_maps: Mapping[int, Tensor]) -> Tensor:
        for scale in self.scales:
            skipped = last_maps[scale]
            reduced = resize(self.reduction(scale)(x), (skipped.shape[2], skipped.shape[3]))
            x = self.refinement(scale)(torch.cat([reduced, skipped], dim=1), self.channels[scale])
        return x

    def reduction(self, scale: int) -> ConvBnRelu:
        """The 1×1 convolution to the channels of that scale."""
        return cast("ConvBnRelu", self.reduce[str(scale)])

    def refinement(self, scale: int) -> SuperOperator:
        """The 3×3 convolution over the concatenated maps at that scale."""
        return cast("SuperOperator", self.refine[str(scale)])


class Head(nn.Module):
    """One role's ways back, and a classifier for each set of branches.

    Args:
        channels: of a branch's end, by scale, ascending.
        skipped: widths of a last map at each scale but the coarsest.
        sets: of branches to predict from, by their ends.
        classes: of the scores.
    """

    def __init__(
        self,
        channels: Mapping[int, int],
        skipped: Mapping[int, Sequence[int]],
        sets: Sequence[Sequence[int]],
        classes: int,
    ) -> None:
        super().__init__()
        finest = next(iter(channels))
        self.ways_back = nn.ModuleDict(
            {str(end): WayBack({s: c for s, c in channels.items() if s <= end}, skipped) for end in channels}
        )
        self.fusion = nn.ModuleDict()
        self.classifier = nn.ModuleDict()
        for branches in sets:
            fused, name = len(branches) * channels[finest], key(label_of(branches))
            self.fusion[name] = ConvBnRelu(fused, fused, kernel=1)
            self.classifier[name] = build_classifier(fused, classes)
        self.auxiliary = nn.ModuleDict({str(end): build_classifier(c, classes) for end, c in channels.items() if end != finest})

    def way_back(self, end: int) -> WayBack:
        """The way back of the branch that ends at that scale."""
        return cast("WayBack", self.ways_back[str(end)])

    def classify(self, alternative: str, maps: Sequence[Tensor]) -> Tensor:
        """Class scores of a set of branches, by its label, at the finest scale."""
        joined = maps[0] if len(maps) == 1 else torch.cat(list(maps), dim=1)
        scores: Tensor = self.classifier[key(alternative)](self.fusion[key(alternative)](joined))
        return scores


def build_classifier(channels: int, classes: int) -> nn.Module:
    """A segmentation head for maps of any size."""
    return build_operator(OperatorSpec(kind="segmentation_head", in_channels=channels, out_channels=classes, height=1, width=1))
