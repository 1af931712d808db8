"""The mixed operators of a supernet and the maps between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from models.networks.structure import Edge, LatencyGraph
from models.supernets.base import Mixture
from models.supernets.mixed_operators import MixedOperator

ENTRY = 0
"""The node that the stem's map enters."""


class Cells(nn.Module):
    """One mixed operator per edge of a graph, over superkernels that serve every role.

    Roles differ only in the channels of their maps, such as a teacher whose stem and head are wider.

    Args:
        graphs: each role's; nodes and edges are those of the others.

    Source: FasterSeg eqs. 1 and 2. β weighs the maps that meet at a node, as there.
    """

    def __init__(self, graphs: Mapping[str, LatencyGraph]) -> None:
        super().__init__()
        self.graphs = dict(graphs)
        edges = next(iter(self.graphs.values())).edges
        self.mixed = nn.ModuleList(
            MixedOperator((rows[0][0] for rows in edge.operators), self._widths(edge.source), self._widths(edge.destination))
            for edge in edges
        )

    def _widths(self, node: int) -> set[int]:
        return {channels for graph in self.graphs.values() for channels in graph.nodes[node].channels}

    def forward(self, entry: Tensor, mixture: Mixture, role: str, ends: Collection[int]) -> dict[int, Tensor]:
        """The maps that lead to the given nodes, those included, by node; nothing else is computed.

        Shape: entry (N, C, H, W), C being the first node's channels in that role.
        """
        graph = self.graphs[role]
        maps = {ENTRY: entry}
        for index in leading_edges(graph, ends):
            edge = graph.edges[index]
            channels = mixture.channels(graph, edge.destination)
            entering = self.mixed[index](maps[edge.source], mixture.operator_weights(graph, edge), channels)
            met = maps.get(edge.destination)
            maps[edge.destination] = entering if met is None else met + entering
        return maps


def leading_edges(graph: LatencyGraph, ends: Collection[int]) -> list[int]:
    """Indices of the edges on any path to the given nodes, in the graph's order."""
    wanted, found = set(ends), []
    for index in reversed(range(len(graph.edges))):
        if graph.edges[index].destination in wanted:
            wanted.add(graph.edges[index].source)
            found.append(index)
    return found[::-1]


def edge_probabilities(graph: LatencyGraph, end: int, beta: Tensor) -> dict[int, Tensor]:
    """Probability of each edge to be on the path to one output, by index of the edge; scalars.

    Read backwards from the output, a node takes one of the edges that enter it, with β's probabilities (docs/latency.md).
    """
    at_node: dict[int, Tensor] = {end: torch.ones((), dtype=beta.dtype, device=beta.device)}
    on_edge = {}
    for index in reversed(leading_edges(graph, [end])):
        edge = graph.edges[index]
        taken = _taken(edge, at_node[edge.destination], beta)
        at_node[edge.source] = at_node[edge.source] + taken if edge.source in at_node else taken
        on_edge[index] = taken
    return on_edge


def _taken(edge: Edge, reached: Tensor, beta: Tensor) -> Tensor:
    return reached if edge.selection is None else reached * beta[edge.selection]
