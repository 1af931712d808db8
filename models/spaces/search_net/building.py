"""Latency graphs put together node by node, each at its scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from models.networks.structure import Edge, LatencyGraph, Node, NodeOperator
from models.spaces.search_net.catalogue import Catalogue
from models.spec.operators import OperatorSpec


class Building:
    """A graph that grows. Nodes are named by their index.

    Args:
        catalogue: makes the operators.
        entry: the fixed operator before the graph, which makes the map of its first node.
    """

    def __init__(self, catalogue: Catalogue, entry: OperatorSpec) -> None:
        self.catalogue, self._entry = catalogue, entry
        self._nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.entry = self.node(entry.out_channels, 1)

    def graph(self) -> LatencyGraph:
        """What is built so far, all of it always computed."""
        return LatencyGraph(tuple(self._nodes), tuple(self.edges), outputs=None, fixed=(self._entry,))

    def node(
        self,
        channels: int,
        scale: int,
        *,
        join: Literal["sum", "concat"] = "sum",
        operators: tuple[NodeOperator, ...] = (),
    ) -> int:
        """A further node, without edges so far."""
        self._nodes.append(Node((channels,), join=join, scale=scale, operators=operators))
        return len(self._nodes) - 1

    def scale(self, node: int) -> int:
        """Of that node."""
        return self._nodes[node].scale or 1

    def channels(self, node: int) -> int:
        """Of that node."""
        return self._nodes[node].channels[0]

    def then(self, source: int, kind: str, channels: int, *, stride: int = 1, kernel: int | None = None) -> int:
        """A node behind one fixed operator of a map."""
        scale, attributes = self.scale(source), {} if kernel is None else {"kernel": kernel}
        operator = self.catalogue.make(kind, scale, self.channels(source), channels, stride=stride, **attributes)
        return self._behind(source, channels, scale * stride, operator)

    def resized(self, source: int, scale: int) -> int:
        """A map at another scale; itself where it has that scale."""
        given, channels = self.scale(source), self.channels(source)
        if given == scale:
            return source
        return self._behind(source, channels, scale, self.catalogue.resize(given, scale, channels))

    def joined(self, sources: Sequence[int]) -> int:
        """Maps of one scale, concatenated."""
        parts, scale = [self.channels(source) for source in sources], self.scale(sources[0])
        concat = NodeOperator((self.catalogue.concat(scale, parts),))
        return self._meeting(sources, self.node(sum(parts), scale, join="concat", operators=(concat,)))

    def added(self, sources: Sequence[int]) -> int:
        """Maps of one shape, added; a single one is itself."""
        if len(sources) == 1:
            return sources[0]
        channels, scale = self.channels(sources[0]), self.scale(sources[0])
        add = NodeOperator((self.catalogue.add(scale, channels, len(sources)),))
        return self._meeting(sources, self.node(channels, scale, operators=(add,)))

    def _behind(self, source: int, channels: int, scale: int, operator: OperatorSpec) -> int:
        node = self.node(channels, scale)
        self.edges.append(Edge(source, node, None, None, (((operator,),),)))
        return node

    def _meeting(self, sources: Sequence[int], node: int) -> int:
        self.edges += [Edge(source, node, None, None, ()) for source in sources]
        return node
