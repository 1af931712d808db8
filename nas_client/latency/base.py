"""What the relaxed and the decoupled latency share: probabilities of choices, and how probable each edge is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from nas_client.errors import ParameterError
from nas_client.latency.coefficients import Coefficients
from nas_client.latency.parameters import GRANULARITIES, ArchitectureParameters
from nas_client.latency.relaxation import Choices, Relaxation


class LatencyModule(nn.Module):
    """A latency as a function of architecture parameters, computed in their dtype whatever autocast says.

    Buffers are made in float64, and rounded once by `.to()`, which also moves them to another device. They come from the table,
    not from training, and are no part of a state dict.

    Args:
        coefficients: of a table; see `coefficients_of`.
        widths: how γ becomes weights: `expected`, or a `Gumbel` sample.
    """

    def __init__(self, coefficients: Coefficients, widths: Relaxation) -> None:
        super().__init__()
        self.shapes = coefficients.shapes
        self.widths = widths
        self.alpha = Choices(self.shapes["alpha"])
        self.beta = Choices(self.shapes["beta"])
        self.gamma = Choices(self.shapes["gamma"])
        self.reach = Reach(coefficients)

    def keep(self, name: str, tensor: Tensor) -> None:
        """Make the tensor a buffer of that name."""
        self.register_buffer(name, tensor, persistent=False)

    def probabilities(self, parameters: ArchitectureParameters) -> tuple[Tensor, Tensor, Tensor]:
        """Those of α, β and γ, in which what a row does not offer has none. Shapes: (rows, choices).

        Raises:
            ParameterError: the parameters are of another search space, or of another dtype than this module.
        """
        if parameters.shapes != self.shapes:
            name = next(name for name in GRANULARITIES if parameters.shapes[name] != self.shapes[name])
            raise ParameterError(f"{name} has groups {parameters.shapes[name]}; this search space's are {self.shapes[name]}")
        if parameters.alpha.dtype != self.dtype:
            raise ParameterError(f"the parameters are {parameters.alpha.dtype}, this latency is {self.dtype}")
        return self.alpha(parameters.alpha), self.beta(parameters.beta), self.gamma(parameters.gamma, self.widths)

    @property
    def dtype(self) -> torch.dtype:
        """Of the computation and the parameters."""
        return self.reach.outputs.dtype

    def full_precision(self) -> AbstractContextManager[None]:
        """A context in which autocast leaves the computation alone."""
        device = self.reach.outputs.device.type
        # Entering autocast costs a tenth of a training step, so it is left out where there is nothing to switch off.
        return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


class Reach(nn.Module):
    """reach(e; β): 1 at the outputs, passed backwards through β; with several branches, how many of them use the edge.

    With P[n, m] the probability that node m takes its edge from node n, and s the outputs, the nodes' reach is r = s + P r.
    Nodes are topologically ordered, so that one triangular solve gives it, and another its gradient, whatever the depth. A node
    that is always computed is reached once, whoever takes it: its row of P is zero, and s is 1.

    Args:
        coefficients: the graph.

    Source: docs/latency.md.
    """

    outputs: Tensor
    selection: Tensor
    selected: Tensor
    passing: Tensor
    passing_index: Tensor
    unselected: Tensor
    unselected_system: Tensor
    destination: Tensor

    def __init__(self, coefficients: Coefficients) -> None:
        super().__init__()
        c = coefficients
        self.everywhere = not bool(c.passing.any())
        unselected = torch.ones_like(c.destination, dtype=torch.float64).index_fill(0, c.selected, 0)
        index = c.source * c.nodes + c.destination
        passing = c.passing[c.selected]
        system = torch.eye(c.nodes, dtype=torch.float64).view(-1).index_add(0, index, unselected * c.passing, alpha=-1)
        self.register_buffer("outputs", c.outputs, persistent=False)
        self.register_buffer("selection", c.selection, persistent=False)
        self.register_buffer("selected", c.selected, persistent=False)
        # The same without what leads to nodes that are always computed, and to the node itself.
        self.register_buffer("passing", c.selection[passing], persistent=False)
        self.register_buffer("passing_index", index[c.selected][passing], persistent=False)
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
        system = self.unselected_system.index_add(0, self.passing_index, beta.index_select(0, self.passing), alpha=-1)
        # I − P is square, and upper triangular with ones on its diagonal.
        square = system.view(len(self.outputs), -1)
        reach: Tensor = torch.linalg.solve_triangular(square, self.outputs[:, None], upper=True, unitriangular=True)
        return reach.view(-1)
