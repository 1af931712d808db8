"""What one forward pass of a supernet mixes, and with which weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from models.networks.mixed_graph import Edge, LatencyGraph


@dataclass(frozen=True, eq=False)
class Mixture:
    """Weights of operators and of downsampling, and one width for each map. Rows are those of a `LatencyGraph`.

    Nothing here belongs to the supernet: teacher and student, or the widths of successive passes, are different mixtures over
    the same weights.

    Attributes:
        alpha: probabilities of operators; shape (rows, choices).
        beta: probabilities of where a map comes from; shape (rows, choices).
        widths: index of each γ row's width; the only one that is computed.
        scores: a factor for each searched map, 1 in value, through which γ gets gradients; shape (rows,). None where γ is not
            trained.
    """

    alpha: Tensor
    beta: Tensor
    widths: tuple[int, ...]
    scores: Tensor | None = None

    @classmethod
    def sampled(cls, alpha: Tensor, beta: Tensor, gamma: Tensor) -> Self:
        """With widths as one sample: `gamma` has one 1 per row, and gradients of its own (straight-through).

        Shape: each (rows, choices). Source: FasterSeg, Appendix C.
        """
        chosen = gamma.argmax(dim=-1)
        return cls(alpha, beta, tuple(chosen.tolist()), gamma.gather(-1, chosen[:, None]).squeeze(-1))

    def channels(self, graph: LatencyGraph, node: int) -> int:
        """Channels of that map."""
        settled = graph.nodes[node]
        return settled.channels[0] if settled.width_row is None else settled.channels[self.widths[settled.width_row]]

    def operator_weights(self, graph: LatencyGraph, edge: Edge) -> Tensor:
        """Factor of each choice of an edge, downsampling and the destination's score included. Shape: (choices,)."""
        weights = self.alpha[edge.operator_row]
        if edge.selection is not None:
            weights = weights * self.beta[edge.selection]
        row = graph.nodes[edge.destination].width_row
        return weights if self.scores is None or row is None else weights * self.scores[row]
