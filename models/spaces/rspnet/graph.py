"""RSPNet's mixed operators: the paths into each cell, its edges, and the maps that the head takes.

Every cell is computed, whichever paths are chosen: the map that stands at its scale in the layer before enters it as well. With
`part` 1 that map is added to the two paths, as in a residual network (eq. 7); with `part` 2 its second half is put behind them
untouched, as in CSPNet (eq. 9). The source does not say how the cells of a scale follow each other; without this, a cell that
no later one chooses would be computed for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from models.networks.structure import Edge, LatencyGraph, Node, NodeOperator, OperatorMatrix, Selection
from models.spaces.base import ParameterShapes
from models.spaces.rspnet.catalogue import Catalogue
from models.spaces.rspnet.parameters import CELL_EDGES, OPERATORS, PAIR, RspNetParameters
from models.spec.operators import OperatorSpec

CELL = "cell"
"""α's only group: one cell is searched for all places."""

STEM_NODE = 0


def parameter_shapes(parameters: RspNetParameters) -> ParameterShapes:
    """Shapes of α and β: an edge of the cell per row; a cell's place per row, by scale and then by layer."""
    rows = (parameters.layers, len(parameters.pairs))
    return {
        "alpha": {CELL: (len(CELL_EDGES), len(OPERATORS))},
        "beta": {str(rate): rows for rate in parameters.rates},
        "gamma": {},
    }


def latency_graph(parameters: RspNetParameters, catalogue: Catalogue, *, stack: int) -> LatencyGraph:
    """The graph with that many copies of the cell behind each other; their edges share the rows of α."""
    return _Builder(parameters, catalogue, stack).build()


EdgePlace = tuple[int, ...]
"""What an edge is, whatever the stack: the number of its cell and its row; or its number among those outside of cells."""


def edge_places(parameters: RspNetParameters, catalogue: Catalogue, *, stack: int) -> list[EdgePlace]:
    """The place of every edge of `latency_graph`. Copies of a cell have the same ones."""
    builder = _Builder(parameters, catalogue, stack)
    builder.build()
    return builder.places


class _Builder:
    def __init__(self, parameters: RspNetParameters, catalogue: Catalogue, stack: int) -> None:
        self._parameters, self._catalogue, self._stack = parameters, catalogue, stack
        self._nodes: list[Node] = [Node((parameters.stem_width,), scale=parameters.rates[0])]
        self._edges: list[Edge] = []
        self.places: list[EdgePlace] = []
        self._cells = self._others = 0

    def build(self) -> LatencyGraph:
        levels = range(self._parameters.scales)
        before = {level: self._first(level) for level in levels}
        for layer in range(self._parameters.layers):
            current: dict[int, int] = {}
            for level in levels:
                x = self._entering(layer, level, before, current)
                for _ in range(self._stack):
                    x = self._cell(x, level)
                self._cells += 1
                current[level] = x
            before = current
        self._fused(before)
        return LatencyGraph(tuple(self._nodes), tuple(self._edges), outputs=None, fixed=self._catalogue.stem())

    def _first(self, level: int) -> int:
        node = self._node(level)
        self._edge(STEM_NODE, node, self._catalogue.first(level), after=self._resizing(self._parameters.width(level), 0, level))
        return node

    def _entering(self, layer: int, level: int, before: Mapping[int, int], current: Mapping[int, int]) -> int:
        """The map that enters the cells of a place: its two paths, and the map before them at its scale."""
        parameters, catalogue = self._parameters, self._catalogue
        row = level * parameters.layers + layer
        channels = parameters.width(level)
        if parameters.part == 1:
            node = self._node(level, catalogue.add(channels, PAIR + 1, level))
            self._edge(before[level], node)
            self._paths(row, level, node, before, current)
            return node
        half = channels // parameters.part
        met = self._node(level, catalogue.add(half, PAIR, level), channels=half)
        self._paths(row, level, met, before, current)
        node = self._node(level, catalogue.concat((half, channels - half), level), join=True)
        self._edge(met, node)
        self._edge(before[level], node, catalogue.untouched(level))
        return node

    def _paths(self, row: int, level: int, node: int, before: Mapping[int, int], current: Mapping[int, int]) -> None:
        """All paths into a node. That of the current layer comes from the next finer scale; into the finest, from the stem."""
        catalogue, pairs = self._catalogue, self._parameters.pairs
        sources: list[tuple[int, int | None]] = [(before[source], source) for source in before]
        sources.append((current[level - 1], level - 1) if level else (STEM_NODE, None))
        for name, (start, source) in zip(self._parameters.paths, sources, strict=True):
            selection = (row, tuple(choice for choice, pair in enumerate(pairs) if name in pair))
            after = self._resizing(self._nodes[node].channels[0], source or 0, level)
            self._edge(start, node, catalogue.path(source, level), selection=selection, after=after)

    def _cell(self, x: int, level: int) -> int:
        """One copy of the cell; its output."""
        choices: tuple[OperatorMatrix, ...] = tuple(((operator,),) for operator in self._catalogue.edge(level))
        places = [x]
        for place in range(1, 1 + max(end for _, end in CELL_EDGES)):
            rows = [row for row, (_, end) in enumerate(CELL_EDGES) if end == place]
            joined = self._catalogue.add(self._parameters.width(level), len(rows), level) if len(rows) > 1 else None
            places.append(self._node(level, joined))
            for row in rows:
                self._edges.append(Edge(places[CELL_EDGES[row][0]], places[-1], row, None, choices))
                self.places.append((self._cells, row))
        return places[-1]

    def _fused(self, last: Mapping[int, int]) -> None:
        widths = tuple(self._parameters.width(level) for level in last)
        node = self._node(0, self._catalogue.concat(widths, 0), channels=sum(widths), join=True)
        for level, source in last.items():
            self._edge(source, node, after=self._resizing(widths[level], level, 0))

    def _resizing(self, channels: int, source: int, level: int) -> tuple[OperatorMatrix, ...]:
        """From one level's size to another's."""
        return () if source == level else (((self._catalogue.resize(channels, source, level),),),)

    def _node(self, level: int, operator: OperatorSpec | None = None, *, channels: int = 0, join: bool = False) -> int:
        own = () if operator is None else (NodeOperator((operator,)),)
        width, scale = channels or self._parameters.width(level), self._parameters.rates[level]
        self._nodes.append(Node((width,), join="concat" if join else "sum", scale=scale, operators=own))
        return len(self._nodes) - 1

    def _edge(
        self,
        source: int,
        destination: int,
        operator: OperatorSpec | None = None,
        *,
        selection: Selection | None = None,
        after: tuple[OperatorMatrix, ...] = (),
    ) -> None:
        operators: tuple[OperatorMatrix, ...] = () if operator is None else (((operator,),),)
        self._edges.append(Edge(source, destination, None, selection, operators, after))
        self.places.append((self._others,))
        self._others += 1
