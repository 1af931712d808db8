"""The mixed operators of a supernet and the maps between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn

from models.networks.graph_checks import selection_row
from models.networks.structure import Edge, LatencyGraph, OperatorMatrix, Selection
from models.spec.errors import InvalidSpecError
from models.supernets.base import Mixture, taken
from models.supernets.head import resize
from models.supernets.mixed_operators import MixedOperator

ENTRY = 0
"""The node that the stem's map enters."""


class Cells(nn.Module):
    """One mixed operator per edge of a graph, over superkernels that serve every role.

    Roles differ only in the channels of their maps, such as a teacher whose stem and head are wider. Maps meet at a node by
    addition or concatenation, after they are resized to its scale (bilinear, aligned corners) where they have another.

    Args:
        graphs: each role's; nodes and edges are those of the others.

    Raises:
        InvalidSpecError: the maps of a node cannot be concatenated.

    Source: FasterSeg eqs. 1 and 2. β weighs the maps that meet at a node, as there; an edge that several of its choices take is
    weighted with their sum.
    """

    def __init__(self, graphs: Mapping[str, LatencyGraph]) -> None:
        super().__init__()
        self.graphs = dict(graphs)
        graph = next(iter(self.graphs.values()))
        self.mixed = nn.ModuleList(self._mixed(edge, edge.operators) for edge in graph.edges)
        # By the edge's index: of few edges.
        self.after = nn.ModuleDict(
            {
                str(index): nn.ModuleList(self._mixed(edge, (matrix,), after=True) for matrix in edge.after)
                for index, edge in enumerate(graph.edges)
                if edge.after
            }
        )
        self.slots = {n: concat_slots(graph, n) for n, node in enumerate(graph.nodes) if node.join == "concat"}

    def _mixed(self, edge: Edge, matrices: Sequence[OperatorMatrix], *, after: bool = False) -> nn.Module:
        if not matrices:
            return nn.Identity()
        specs = [matrix[0][0] for matrix in matrices]
        leaving = self._leaving(edge)
        return MixedOperator(specs, leaving if after else self._widths(edge.source), leaving)

    def _widths(self, node: int) -> set[int]:
        return {channels for graph in self.graphs.values() for channels in graph.nodes[node].channels}

    def _leaving(self, edge: Edge) -> set[int]:
        """Channels of an edge's map: the destination's, of which a concatenated map is only a part."""
        if next(iter(self.graphs.values())).nodes[edge.destination].join == "concat":
            return {edge.operators[0][0][0].out_channels}
        return self._widths(edge.destination)

    def forward(
        self, entry: Tensor, mixture: Mixture, role: str, ends: Collection[int], *, size: tuple[int, int] | None = None
    ) -> dict[int, Tensor]:
        """The maps that lead to the given nodes, those included, by node; nothing else is computed.

        Args:
            entry: the first node's map; shape (N, C, H, W), C being its channels in that role.
            mixture: weights of operators and edges, and the widths.
            role: whose graph.
            ends: nodes.
            size: height and width of the images; needed where nodes state their scale.
        """
        graph = self.graphs[role]
        maps = {ENTRY: entry}
        leading = leading_edges(graph, ends)
        for node in sorted({graph.edges[index].destination for index in leading}):
            entering = {
                index: _at_scale(self._along(index, maps, mixture, graph), graph.nodes[node].scale, size)
                for index in leading
                if graph.edges[index].destination == node
            }
            maps[node] = self._joined(node, entering, mixture)
        return maps

    def _along(self, index: int, maps: Mapping[int, Tensor], mixture: Mixture, graph: LatencyGraph) -> Tensor:
        """The map that an edge leads to its destination, weighted by β unless it is concatenated there."""
        edge, x = graph.edges[index], maps[graph.edges[index].source]
        added = graph.nodes[edge.destination].join == "sum"
        inside = added and bool(edge.operators) and not edge.after  # one multiplication fewer; what follows need not be linear
        if edge.operators:
            channels = mixture.channels(graph, edge.destination) if added else edge.operators[0][0][0].out_channels
            x = self.mixed[index](x, mixture.operator_weights(graph, edge, selected=inside), channels)
        if edge.after:
            for following in cast("nn.ModuleList", self.after[str(index)]):
                x = following(x, x.new_ones(1), x.shape[1])
        return x if inside or not added or edge.selection is None else taken(mixture.beta, edge.selection) * x

    def _joined(self, node: int, entering: Mapping[int, Tensor], mixture: Mixture) -> Tensor:
        if node not in self.slots:
            return reduce(torch.add, entering.values())
        return torch.cat([_slot(slot, entering, mixture) for slot in self.slots[node]], dim=1)


Slot = tuple[tuple[int, Selection | None], ...]
"""The edges that may fill one part of a concatenated map, and the choices of β under which each does."""


def concat_slots(graph: LatencyGraph, node: int) -> tuple[Slot, ...]:
    """The parts of a node's map, in order. Its first part is that of the first edge that a choice of β takes, and so on.

    Raises:
        InvalidSpecError: the choices of β take unequally many edges.
    """
    row = selection_row(graph, node)
    choices = sorted({c for e in graph.entering(node) for c in (graph.edges[e].selection or (0, ()))[1]})
    taken_by = {choice: graph.taken(node, choice) for choice in (choices if row is not None else [-1])}
    counts = {len(edges) for edges in taken_by.values()}
    if len(counts) > 1:
        raise InvalidSpecError(
            f"node {node} concatenates {' or '.join(map(str, sorted(counts)))} maps; β must take equally many"
        )
    slots = []
    for place in range(counts.pop()):
        by_edge: dict[int, list[int]] = {}
        for choice, edges in taken_by.items():
            by_edge.setdefault(edges[place], []).append(choice)
        everywhere = row is None or len(by_edge) == 1
        slots.append(tuple((edge, None if everywhere or row is None else (row, tuple(cs))) for edge, cs in by_edge.items()))
    return tuple(slots)


def _slot(slot: Slot, entering: Mapping[int, Tensor], mixture: Mixture) -> Tensor:
    parts = (
        entering[edge] if selection is None else taken(mixture.beta, selection) * entering[edge] for edge, selection in slot
    )
    return reduce(torch.add, parts)


def _at_scale(x: Tensor, scale: int | None, size: tuple[int, int] | None) -> Tensor:
    if scale is None or size is None:
        return x
    return resize(x, (-(-size[0] // scale), -(-size[1] // scale)))


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
        on_edge[index] = _taken(edge, at_node[edge.destination], beta)
        before = at_node.get(edge.source)
        at_node[edge.source] = on_edge[index] if before is None else before + on_edge[index]
    return on_edge


def _taken(edge: Edge, reached: Tensor, beta: Tensor) -> Tensor:
    return reached if edge.selection is None else reached * taken(beta, edge.selection)
