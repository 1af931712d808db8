"""The mixed operators of a supernet and the maps between them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn

from models.networks.graph_checks import selection_row
from models.networks.structure import Edge, LatencyGraph, Node, NodeOperator, OperatorMatrix, Selection
from models.spec.errors import InvalidSpecError
from models.supernets.base import Mixture, taken
from models.supernets.head import resize
from models.supernets.mixed_operators import MixedOperator

JOINS = frozenset({"add", "concat"})
"""Kinds that bring the maps of a node together; a supernet does it itself."""

RESIZE = "resize"

ENTRY = 0
"""The node that the stem's map enters."""


class Cells(nn.Module):
    """One mixed operator per edge of a graph, over superkernels that serve every role.

    Roles differ only in the channels of their maps, such as a teacher whose stem and head are wider. Maps meet at a node by
    addition or concatenation, after they are resized to its scale (bilinear, aligned corners) where they have another.

    Args:
        graphs: each role's; nodes and edges are those of the others.

    Raises:
        InvalidSpecError: the maps of a node cannot be concatenated; an edge resizes before its end, or at a node without scale;
            a node's own operator, other than one that joins maps, depends on β.

    Source: FasterSeg eqs. 1 and 2. β weighs the maps that meet at a node, as there; an edge that several of its choices take is
    weighted with their sum.
    """

    def __init__(self, graphs: Mapping[str, LatencyGraph]) -> None:
        super().__init__()
        self.graphs = dict(graphs)
        graph = next(iter(self.graphs.values()))
        for index, edge in enumerate(graph.edges):
            _check_resizing(index, edge, graph.nodes[edge.destination])
        self.mixed = nn.ModuleList(self._mixed(edge, edge.operators) for edge in graph.edges)
        # By the edge's index: of few edges.
        self.after = nn.ModuleDict(
            {
                str(index): nn.ModuleList(self._mixed(edge, (matrix,), after=True) for matrix in edge.after)
                for index, edge in enumerate(graph.edges)
                if edge.after
            }
        )
        self.own = nn.ModuleDict({str(n): self._own(n, node) for n, node in enumerate(graph.nodes) if _following(node)})
        self.slots = {n: concat_slots(graph, n) for n, node in enumerate(graph.nodes) if node.join == "concat"}

    def _mixed(self, edge: Edge, matrices: Sequence[OperatorMatrix], *, after: bool = False) -> nn.Module:
        if not matrices:
            return nn.Identity()
        specs = [matrix[0][0] for matrix in matrices]
        # What is concatenated is only a part of the node's map, and has one width.
        concatenated = next(iter(self.graphs.values())).nodes[edge.destination].join == "concat"
        leaving = {specs[0].out_channels} if concatenated else self._widths(edge.destination)
        entering = self._widths(edge.source)
        if after and edge.operators:
            entering = {specs[0].in_channels} if concatenated else leaving
        return MixedOperator(specs, entering, leaving)

    def _own(self, index: int, node: Node) -> nn.ModuleDict:
        """A node's own operators after its maps have met, by their place among all."""
        found = _following(node)
        if any(own.selection is not None for own in found.values()):
            raise InvalidSpecError(
                f"node {index}: an operator of its own depends on beta; in a supernet only 'add' and 'concat' may",
                hint="Put it on an edge.",
            )
        widths = self._widths(index)
        return nn.ModuleDict({str(place): MixedOperator([own.by_width[0]], widths, widths) for place, own in found.items()})

    def following(self, index: int) -> Sequence[nn.Module]:
        """What follows the chosen operator of an edge."""
        return list(cast("nn.ModuleList", self.after[str(index)])) if str(index) in self.after else []

    def _widths(self, node: int) -> set[int]:
        return {channels for graph in self.graphs.values() for channels in graph.nodes[node].channels}

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
        leading = leading_edges(graph, ends, mixture)
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
            weights = None if mixture.chosen else mixture.operator_weights(graph, edge, selected=inside)
            x = self.mixed[index](x, weights, channels, mixture.decided(edge))
        for following in self.following(index):
            x = following(x, x.new_ones(1), x.shape[1])
        if inside or not added or edge.selection is None or mixture.chosen is not None:
            return x
        return taken(mixture.beta, edge.selection) * x

    def path_logits(self) -> Tensor | None:
        """As of a supernet (`models.supernets.base.Supernet`)."""
        return None

    def merge_statistics(self, sum_in_place: Callable[[Sequence[Tensor]], None]) -> None:
        """As of a supernet."""

    def _joined(self, node: int, entering: Mapping[int, Tensor], mixture: Mixture) -> Tensor:
        if node in self.slots:
            x = torch.cat([_slot(slot, entering, mixture) for slot in self.slots[node]], dim=1)
        else:
            x = reduce(torch.add, entering.values())
        for own in cast("nn.ModuleDict", self.own[str(node)]).values() if str(node) in self.own else ():
            x = own(x, x.new_ones(1), x.shape[1])
        return x


def _following(node: Node) -> dict[int, NodeOperator]:
    """Those of a node's own operators that do not join maps, by their place."""
    return {place: own for place, own in enumerate(node.operators) if own.by_width[0].kind not in JOINS}


def _check_resizing(index: int, edge: Edge, destination: Node) -> None:
    """Raises InvalidSpecError unless the edge resizes at its end alone, and to a size that is known."""
    kinds = [{matrix[0][0].kind for matrix in edge.operators}, *({matrix[0][0].kind} for matrix in edge.after)]
    resizes = [RESIZE in found for found in kinds]
    if any(resizes[:-1]) or (resizes[-1] and destination.scale is None):
        raise InvalidSpecError(
            f"edge {index} resizes its map before its end, or to a node that states no scale",
            hint="Give the resized map a node of its own, with its scale.",
        )


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
    if mixture.chosen is not None:
        return next(entering[edge] for edge, selection in slot if mixture.takes(selection))
    parts = (
        entering[edge] if selection is None else taken(mixture.beta, selection) * entering[edge] for edge, selection in slot
    )
    return reduce(torch.add, parts)


def _at_scale(x: Tensor, scale: int | None, size: tuple[int, int] | None) -> Tensor:
    if scale is None or size is None:
        return x
    return resize(x, (-(-size[0] // scale), -(-size[1] // scale)))


def leading_edges(graph: LatencyGraph, ends: Collection[int], mixture: Mixture | None = None) -> list[int]:
    """Indices of the edges on any path to the given nodes, in the graph's order; of a single network, those on its own."""
    wanted, found = set(ends), []
    for index in reversed(range(len(graph.edges))):
        edge = graph.edges[index]
        if edge.destination in wanted and (mixture is None or mixture.takes(edge.selection)):
            wanted.add(edge.source)
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
