"""The recursion of docs/latency.md for FasterSeg, word by word: nothing of the code under test but specs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.spec.operators import OperatorSpec

KINDS = ("skip", "conv3x3", "zoomed_conv3x3", "conv3x3_x2", "zoomed_conv3x3_x2")

Groups = Mapping[str, list[list[float]]]
"""Rows of probabilities by scale, as in a parameter file (docs/reference/files.md)."""


@dataclass(frozen=True)
class Recursion:
    """Relaxed latency of each branch.

    Attributes:
        lookup: milliseconds of an operator.
        size: height and width of the image.
        alpha, beta, gamma: probabilities; α row r of scale j is layer r + j, β row r is layer r + j + 1, γ row r is the map
            entering layer r + 1 (r + 2 at scale 32).
        factorised_skips: whether skips with stride 2 are two convolutions of half the width.
    """

    lookup: Callable[[OperatorSpec], float]
    size: tuple[int, int]
    layers: int
    base_channels: int
    stem_width: int
    head_width: int
    widths: tuple[int, ...]
    alpha: Groups
    beta: Groups
    gamma: Groups
    factorised_skips: bool = False

    def branch_ms(self, j: int) -> float:
        """Stem and cells of the branch that ends at scale 8 · 2**j."""
        return self.t_keep(self.layers - 1, j)

    def t_keep(self, layer: int, j: int) -> float:
        return self.entry(layer, j) + self.op(layer, j, 1)

    def t_down(self, layer: int, j: int) -> float:
        return self.entry(layer, j) + self.op(layer, j, 2)

    def entry(self, layer: int, j: int) -> float:
        """in(l, j)."""
        if (layer, j) == (0, 0):
            return self.stem()
        if j == 0:
            return self.t_keep(layer - 1, 0)
        if layer == j:
            return self.t_down(layer - 1, j - 1)
        from_finer, kept = self.beta[str(8 * 2**j)][layer - j - 1]
        return from_finer * self.t_down(layer - 1, j - 1) + kept * self.t_keep(layer - 1, j)

    def op(self, layer: int, j: int, stride: int) -> float:
        """Σ_k α Σ_a γ Σ_b γ' · LUT."""
        total = 0.0
        for kind, alpha in zip(KINDS, self.alpha[str(8 * 2**j)][layer - j], strict=True):
            for a, gamma_a in self.widths_at(layer, j):
                for b, gamma_b in self.widths_at(layer + 1, j + stride - 1):
                    total += alpha * gamma_a * gamma_b * self.cell(kind, j, a, b, stride)
        return total

    def widths_at(self, layer: int, j: int) -> list[tuple[int, float]]:
        """Channels of the map entering cell (layer, j), each with its probability."""
        unit = self.base_channels * 8 * 2**j
        if layer == 0:
            return [(unit * self.stem_width // 12, 1.0)]
        if layer == self.layers:
            return [(unit * self.head_width // 12, 1.0)]
        row = self.gamma[str(8 * 2**j)][layer - max(1, j)]
        return [(unit * width // 12, probability) for width, probability in zip(self.widths, row, strict=True)]

    def cell(self, kind: str, j: int, in_channels: int, out_channels: int, stride: int) -> float:
        height, width = (side // (8 * 2**j) for side in self.size)
        factorised = kind == "skip" and stride == 2 and self.factorised_skips
        return self.lookup(
            OperatorSpec(
                kind=kind,
                in_channels=in_channels,
                out_channels=out_channels,
                height=height,
                width=width,
                stride=stride,
                attributes={"factorised": True} if factorised else {},
            )
        )

    def stem(self) -> float:
        height, width = self.size
        final = self.base_channels * 8 * self.stem_width // 12
        convolutions = [
            ("conv_bn_relu", 3, final // 2, 1),
            ("conv3x3_x2", final // 2, final, 2),
            ("conv3x3_x2", final, final, 4),
        ]
        return sum(
            self.lookup(OperatorSpec(kind=kind, in_channels=a, out_channels=b, height=height // s, width=width // s, stride=2))
            for kind, a, b, s in convolutions
        )
