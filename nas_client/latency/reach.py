"""How probable it is that an edge is in the architecture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas_client.latency.coefficients import Coefficients


class Reach(nn.Module):
    """reach(e; β): 1 at the outputs, passed backwards through β; with several branches, how many of them use the edge.

    With P[n, m] the probability that node m takes its edge from node n, and s the outputs, the nodes' reach is r = s + P r.
    Nodes are topologically ordered, so that one triangular solve gives it, and another its gradient, whatever the depth.

    Args:
        coefficients: the graph.

    Source: DESIGN.md §5.
    """

    selection: Tensor
    destination: Tensor
    place: Tensor
    identity: Tensor
    outputs: Tensor

    def __init__(self, coefficients: Coefficients) -> None:
        super().__init__()
        self.always = coefficients.outputs is None
        self.register_buffer("selection", coefficients.selection, persistent=False)
        if coefficients.outputs is None:
            return
        self.nodes = len(coefficients.outputs)
        place = coefficients.source * self.nodes + coefficients.destination
        identity = torch.eye(self.nodes, dtype=torch.float64).view(-1)
        self.register_buffer("destination", coefficients.destination, persistent=False)
        self.register_buffer("place", place, persistent=False)
        self.register_buffer("identity", identity, persistent=False)
        self.register_buffer("outputs", coefficients.outputs[:, None], persistent=False)

    def forward(self, probabilities: Tensor) -> Tensor:
        """Shape: probabilities of β (rows + 1, choices), reach (edges,)."""
        taken = probabilities.view(-1).index_select(0, self.selection)
        if self.always:
            return taken
        system = self.identity.index_add(0, self.place, taken, alpha=-1).view(self.nodes, self.nodes)
        reached = torch.linalg.solve_triangular(system, self.outputs, upper=True, unitriangular=True)
        return torch.mul(taken, reached.view(-1).index_select(0, self.destination))
