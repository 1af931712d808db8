"""Path attention: how much each path into a node resembles the others, and what this says of the choice among them.

Source: RSPNet, eqs. 10 and 11, corrected. As printed, the softmax over the channels sums to one, so that every path scores N.
Its text ("the impact of the i-th path on the j-th path") and its model (DANet) have a softmax over the source path i.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from models.networks.graph_checks import selection_row
from models.networks.structure import LatencyGraph
from models.spec.errors import InvalidSpecError
from models.supernets.base import Mixture
from models.supernets.cells import Cells

MOMENTUM = 0.1
"""Share of a step in the running mean."""


def path_attention(maps: Tensor, temperature: float = 1.0) -> Tensor:
    """The attention p of each path: a distribution.

        S_ij^c = exp(⟨F_i^c, F_j^c⟩ / τ) / Σ_i' exp(⟨F_i'^c, F_j^c⟩ / τ)        p_i = mean over images, j and c of S_ij^c

    F_i^c is channel c of path i, of length 1 over its pixels: the exponential of a product of whole maps would overflow. A
    channel that is zero everywhere stays so. Computed in float32 at the least.

    Args:
        maps: the paths' maps, brought to one shape; shape (N, paths, C, H, W).
        temperature: τ.

    Returns:
        Shape (paths,).
    """
    with torch.autocast(maps.device.type, enabled=False):
        wide = maps if maps.dtype == torch.float64 else maps.float()
        directions = functional.normalize(wide.flatten(3).transpose(1, 2), dim=3)  # (N, C, paths, pixels)
        cosines = directions @ directions.transpose(2, 3)
        return torch.softmax(cosines / temperature, dim=2).mean(dim=(0, 1, 3))


class PathAttentionCells(Cells):
    """Cells that keep the running mean of every path's attention, over the passes of training steps.

    Attributes:
        path_mean: the running mean of p; a row for each node that chooses among paths, in the order of β's rows.
        path_sum, path_passes: of the passes since the last step.

    Raises:
        InvalidSpecError: rows of β choose among different numbers of paths.
    """

    path_mean: Tensor
    path_sum: Tensor
    path_passes: Tensor
    members: Tensor

    def __init__(self, graphs: Mapping[str, LatencyGraph]) -> None:
        super().__init__(graphs)
        graph = next(iter(self.graphs.values()))
        choosing = {node: row for node in range(len(graph.nodes)) if (row := selection_row(graph, node)) is not None}
        self._paths = {
            node: tuple(edge for edge in graph.entering(node) if graph.edges[edge].selection is not None) for node in choosing
        }
        self._rows = choosing
        counts = {len(edges) for edges in self._paths.values()}
        if len(counts) > 1:
            raise InvalidSpecError(f"rows of beta choose among {' or '.join(map(str, sorted(counts)))} paths; all need as many")
        shape = (len(choosing), *counts)
        self.register_buffer("path_mean", torch.full(shape, 1 / shape[1]))
        self.register_buffer("path_sum", torch.zeros(shape), persistent=False)
        self.register_buffer("path_passes", torch.zeros(shape[0], 1), persistent=False)
        self.register_buffer("members", self._members(graph), persistent=False)

    def _members(self, graph: LatencyGraph) -> Tensor:
        """1 where a choice takes a path. Shape: (rows, choices, paths)."""
        taken = {
            (self._rows[node], choice, place)
            for node, edges in self._paths.items()
            for place, edge in enumerate(edges)
            for choice in (graph.edges[edge].selection or (0, ()))[1]
        }
        choices = 1 + max(choice for _, choice, _ in taken)
        members = torch.zeros(len(self._rows), choices, self.path_mean.shape[1])
        for place in taken:
            members[place] = 1
        return members

    def _joined(self, node: int, entering: Mapping[int, Tensor], mixture: Mixture) -> Tensor:
        # Maps weighted by β will do: only their directions count. What takes no gradients is no training, and where paths are
        # decided, the others are not there.
        if self.training and torch.is_grad_enabled() and node in self._paths and mixture.chosen is None:
            self._see(node, [entering[edge] for edge in self._paths[node]])
        return super()._joined(node, entering, mixture)

    @torch.no_grad()
    def _see(self, node: int, maps: Sequence[Tensor]) -> None:
        row = self._rows[node]
        self.path_sum[row] += path_attention(torch.stack(list(maps), dim=1)).to(self.path_sum)
        self.path_passes[row] += 1

    def path_logits(self) -> Tensor:
        """For each choice of β the sum of its paths' log p: where logits are equal, the best two paths by p win."""
        return torch.einsum("rcp,rp->rc", self.members, self.path_mean.log())

    @torch.no_grad()
    def merge_statistics(self, sum_in_place: Callable[[Sequence[Tensor]], None]) -> None:
        sum_in_place([self.path_sum, self.path_passes])
        seen = self.path_sum / self.path_passes.clamp(min=1)
        share = MOMENTUM * (self.path_passes > 0)
        self.path_mean.lerp_(seen, share.expand_as(seen).to(seen))
        self.path_sum.zero_()
        self.path_passes.zero_()
