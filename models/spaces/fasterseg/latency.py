"""FasterSeg's architecture parameters and the graph of its mixed operators, as data (docs/latency.md, docs/reference/files.md).

A node is the map entering cell (layer, scale), or at layer L the end of the branch of that scale. Cell (l, j) exists for l ≥ j
(j = log2(scale / 8)); it leads to (l + 1, j), and, for j < 2 and l < L − 1, with stride 2 to (l + 1, j + 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from models.networks.structure import Selection
from models.spaces.base import Edge, LatencyGraph, Node, NodeOperator, ParameterShapes
from models.spaces.fasterseg.catalogue import Catalogue
from models.spaces.fasterseg.parameters import OPERATORS, SCALES, FasterSegParameters

FIRST_LAYER: Mapping[str, Mapping[int, int]] = {
    "alpha": {8: 0, 16: 1, 32: 2},
    "beta": {16: 2, 32: 3},
    "gamma": {8: 1, 16: 1, 32: 2},
}
"""Layer of the first row of each group. α: every cell; β: cells that can be entered from two; γ: maps of searched width."""

FROM_FINER, KEPT = 0, 1
"""Columns of β."""

_COARSER = dict(pairwise(SCALES))


def parameter_shapes(parameters: FasterSegParameters) -> ParameterShapes:
    """Shapes of the logits, by granularity and scale; a group without rows is left out."""
    choices = {"alpha": len(OPERATORS), "beta": 2, "gamma": len(parameters.widths)}
    return {
        granularity: {
            str(scale): (parameters.layers - first, choices[granularity])
            for scale, first in groups.items()
            if parameters.layers > first
        }
        for granularity, groups in FIRST_LAYER.items()
    }


def latency_graph(parameters: FasterSegParameters, catalogue: Catalogue) -> LatencyGraph:
    """The mixed operators of all three branches; the stem is fixed, the head is no part of it."""
    return _GraphBuilder(parameters, catalogue).graph()


class _GraphBuilder:
    def __init__(self, parameters: FasterSegParameters, catalogue: Catalogue) -> None:
        self._parameters = parameters
        self._catalogue = catalogue
        self._last = parameters.layers
        self._positions = [(layer, scale) for layer in range(self._last + 1) for j, scale in enumerate(SCALES) if layer >= j]
        self._nodes = {position: self._node(*position) for position in self._positions}
        self._index = {position: index for index, position in enumerate(self._positions)}

    def graph(self) -> LatencyGraph:
        edges = []
        for layer, scale in self._positions:
            if layer < self._last:
                edges.append(self._edge((layer, scale), (layer + 1, scale)))
            if layer < self._last - 1 and scale in _COARSER:
                edges.append(self._edge((layer, scale), (layer + 1, _COARSER[scale])))
        return LatencyGraph(
            nodes=tuple(self._nodes.values()),
            edges=tuple(edges),
            outputs=tuple(self._index[self._last, scale] for scale in SCALES),
            fixed=self._catalogue.stem(self._parameters.stem_width),
        )

    def _row(self, granularity: str, layer: int, scale: int) -> int:
        """Row of the granularity, counted through its groups from the finest scale on."""
        first = FIRST_LAYER[granularity]
        return sum(self._last - first[finer] for finer in first if finer < scale) + layer - first[scale]

    def _node(self, layer: int, scale: int) -> Node:
        parameters = self._parameters
        if layer == 0:
            return Node((parameters.channels(scale, parameters.stem_width),))
        if layer == self._last:
            own = self._catalogue.branch_end(scale, parameters.head_width)
            operators = tuple(NodeOperator((operator,)) for operator in own)
            return Node((parameters.channels(scale, parameters.head_width),), operators=operators)
        channels = tuple(parameters.channels(scale, width) for width in parameters.widths)
        return Node(channels, self._row("gamma", layer, scale))

    def _edge(self, source: tuple[int, int], destination: tuple[int, int]) -> Edge:
        layer, scale = source
        stride = destination[1] // scale
        operators = tuple(
            tuple(
                tuple(self._catalogue.cell(kind, scale, a, b, stride) for b in self._nodes[destination].channels)
                for a in self._nodes[source].channels
            )
            for kind in OPERATORS
        )
        return Edge(
            source=self._index[source],
            destination=self._index[destination],
            operator_row=self._row("alpha", layer, scale),
            selection=self._selection(*destination, KEPT if stride == 1 else FROM_FINER),
            operators=operators,
        )

    def _selection(self, layer: int, scale: int, choice: int) -> Selection | None:
        """Where a map can come from two cells, the row and column of β that takes this one."""
        first = FIRST_LAYER["beta"].get(scale, self._last)
        return (self._row("beta", layer, scale), (choice,)) if first <= layer < self._last else None
