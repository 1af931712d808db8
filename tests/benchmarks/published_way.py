"""The decoupled latency loss the way FasterSeg's published code computes it: the slow side of the benchmark.

It walks layers and scales, and for every operator of a cell formats a name from its sizes, looks that up in a dictionary, and
adds its product with the operator's probability and the scores of both widths to a sum that autograd records. Three such walks
make one loss. It is plain and fair: the mathematics is that of docs/latency.md (the published recursion mixes up layers); both
outputs of a cell are evaluated once (the published code does it again for each of the cell's inputs); no sizes are asserted, no
modules reconfigured; the table and all that does not change are made beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from models.spaces.fasterseg.space import FasterSegSpace
from models.spec.operators import OperatorSpec

KINDS = ("skip", "conv3x3", "zoomed_conv3x3", "conv3x3_x2", "zoomed_conv3x3_x2")
SCALES = (8, 16, 32)

Width = tuple[int, Tensor | float]
"""Twelfths, and the score that they are weighted with."""


def sampled(row: Tensor, widths: Sequence[int]) -> list[Width]:
    """The drawn width of a one-hot row alone, as published."""
    drawn = int(row.argmax())
    return [(widths[drawn], row[drawn])]


def weighted(row: Tensor, widths: Sequence[int]) -> list[Width]:
    """Every width with its probability."""
    return list(zip(widths, row, strict=True))


WidthsOf = Callable[[Tensor, Sequence[int]], list[Width]]
"""From the row of a map, and the widths it may have, to those that are summed over."""


class PublishedWay:
    """The loss of one space and table.

    Args:
        space: FasterSeg's.
        lookup: table values in ms.
        widths: the widths to sum over: `sampled` or `weighted`.
    """

    def __init__(self, space: FasterSegSpace, lookup: Callable[[OperatorSpec], float], widths: WidthsOf) -> None:
        parameters = space.parameters
        self.layers = parameters.layers
        self.base = parameters.base_channels
        self.stem_width, self.head_width = parameters.stem_width, parameters.head_width
        self.size = space.spec.input_size
        self.known, self.widths = parameters.widths, widths
        self.table = {
            _name(o.kind, o.height, o.width, o.in_channels, o.out_channels, o.stride): lookup(o) for o in space.operators()
        }
        self.stem_ms = sum(lookup(operator) for operator in space.latency_graph().fixed)

    def loss(
        self,
        alpha: Sequence[Tensor],
        beta: Sequence[Tensor],
        gamma: Sequence[Tensor],
        weights: tuple[float, float, float],
        relax_widths: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """w1 · Latency(O) + w2 · Latency(s) + w3 · Latency(χ); logits by scale."""
        uniform_alpha = [torch.full_like(logits, 1 / logits.shape[1]) for logits in alpha]
        uniform_beta = [torch.full_like(logits, 1 / logits.shape[1]) for logits in beta]
        operator_ms = self.walk([torch.softmax(logits, -1) for logits in alpha], uniform_beta, None)
        downsample_ms = self.walk(uniform_alpha, [torch.softmax(logits, -1) for logits in beta], None)
        expansion_ms = self.walk(uniform_alpha, uniform_beta, [relax_widths(logits) for logits in gamma])
        return weights[0] * operator_ms + weights[1] * downsample_ms + weights[2] * expansion_ms

    def walk(self, alpha: Sequence[Tensor], beta: Sequence[Tensor], gamma: Sequence[Tensor] | None) -> Tensor:
        """The relaxed latency, layer by layer; without γ, all widths are at the maximum."""
        keep: dict[tuple[int, int], Tensor] = {}
        down: dict[tuple[int, int], Tensor] = {}
        for layer in range(self.layers):
            for j in range(min(layer, 2) + 1):
                if layer == 0:
                    entry: Tensor | float = self.stem_ms
                elif j == 0:
                    entry = keep[layer - 1, 0]
                elif layer == j:
                    entry = down[layer - 1, j - 1]
                else:
                    from_finer, kept = beta[j - 1][layer - j - 1]
                    entry = from_finer * down[layer - 1, j - 1] + kept * keep[layer - 1, j]
                operators, entering = alpha[j][layer - j], self.width(layer, j, gamma)
                keep[layer, j] = entry + self.mixed(operators, j, entering, self.width(layer + 1, j, gamma), 1)
                if j < 2 and layer < self.layers - 1:
                    down[layer, j] = entry + self.mixed(operators, j, entering, self.width(layer + 1, j + 1, gamma), 2)
        return keep[self.layers - 1, 0] + keep[self.layers - 1, 1] + keep[self.layers - 1, 2]

    def width(self, layer: int, j: int, gamma: Sequence[Tensor] | None) -> list[Width]:
        """Of the map entering cell (layer, j)."""
        if layer == 0:
            return [(self.stem_width, 1.0)]
        if layer == self.layers:
            return [(self.head_width, 1.0)]
        return [(self.known[-1], 1.0)] if gamma is None else self.widths(gamma[j][layer - max(1, j)], self.known)

    def mixed(self, operators: Tensor, j: int, sources: list[Width], destinations: list[Width], stride: int) -> Tensor | float:
        """One mixed operator."""
        height, width = self.size[0] // SCALES[j], self.size[1] // SCALES[j]
        total: Tensor | float = 0.0
        for source, source_score in sources:
            for destination, destination_score in destinations:
                in_channels = self.base * SCALES[j] * source // 12
                out_channels = self.base * SCALES[j] * stride * destination // 12
                for kind, probability in zip(KINDS, operators, strict=True):
                    latency_ms = self.table[_name(kind, height, width, in_channels, out_channels, stride)]
                    total = total + latency_ms * probability * source_score * destination_score
        return total


def _name(kind: str, height: int, width: int, in_channels: int, out_channels: int, stride: int) -> str:
    return f"{kind}_H{height}_W{width}_Cin{in_channels}_Cout{out_channels}_stride{stride}"
