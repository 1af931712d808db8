"""How probable it is that an edge is in the architecture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas_client.latency.coefficients import Coefficients


class Reach(nn.Module):
    """reach(e; β): 1 at the outputs, passed backwards through β; with several branches, how many of them use the edge.

    With P[n, m] the probability that node m takes its edge from node n, and s the outputs, the nodes' reach is r = s + P r.
    Nodes are topologically ordered, so that one triangular solve gives it, and another its gradient, whatever the depth. Where
    every edge is always used, everything is reached once.

    Args:
        coefficients: the graph.

    Source: docs/latency.md.
    """

    outputs: Tensor
    selection: Tensor
    selected: Tensor
    selected_place: Tensor
    unselected: Tensor
    unselected_system: Tensor
    destination: Tensor

    def __init__(self, coefficients: Coefficients) -> None:
        super().__init__()
        c = coefficients
        self.everywhere = c.outputs is None
        outputs = torch.ones(c.nodes, dtype=torch.float64) if c.outputs is None else c.outputs
        unselected = torch.ones_like(c.destination, dtype=torch.float64).index_fill(0, c.selected, 0)
        place = c.source * c.nodes + c.destination
        system = torch.eye(c.nodes, dtype=torch.float64).view(-1).index_add(0, place, unselected, alpha=-1)
        self.register_buffer("outputs", outputs, persistent=False)
        self.register_buffer("selection", c.selection, persistent=False)
        self.register_buffer("selected", c.selected, persistent=False)
        self.register_buffer("selected_place", place[c.selected], persistent=False)
        self.register_buffer("unselected", unselected, persistent=False)
        self.register_buffer("unselected_system", system, persistent=False)
        self.register_buffer("destination", c.destination, persistent=False)

    def forward(self, beta: Tensor) -> Tensor:
        """How many branches use an edge. Shape: flattened probabilities of β (rows · choices,), reach (edges,)."""
        taken = self.unselected.index_add(0, self.selected, beta.index_select(0, self.selection))
        return taken * self.of_nodes(beta).index_select(0, self.destination)

    def of_nodes(self, beta: Tensor) -> Tensor:
        """How many branches use a node. Shape: flattened probabilities of β (rows · choices,), reach (nodes,)."""
        if self.everywhere:
            return self.outputs
        selected = beta.index_select(0, self.selection)
        system = self.unselected_system.index_add(0, self.selected_place, selected, alpha=-1)
        # I − P is square, and upper triangular with ones on its diagonal.
        square = system.view(len(self.outputs), -1)
        reach: Tensor = torch.linalg.solve_triangular(square, self.outputs[:, None], upper=True, unitriangular=True)
        return reach.view(-1)
