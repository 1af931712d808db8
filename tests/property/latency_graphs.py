"""Random latency graphs, small enough to enumerate: fixed and searched widths and operators, shared rows, rows of unequal
choices, one edge of several, pairs of edges, DAGs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from math import prod

import torch
from hypothesis import assume
from hypothesis import strategies as st

from models.networks.graph_checks import check_graph
from models.networks.structure import Edge, LatencyGraph, Node, NodeOperator, OperatorMatrix, Selection
from models.spaces.base import ParameterShapes
from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec
from models.testing.graph_reference import Probabilities
from nas_client.latency.parameters import ArchitectureParameters

KINDS = ("skip", "conv3x3", "zoomed_conv3x3")
MOST_COMBINATIONS = 400


@dataclass(frozen=True)
class Case:
    """A graph with logits for it."""

    graph: LatencyGraph
    shapes: ParameterShapes
    parameters: ArchitectureParameters

    @property
    def probabilities(self) -> Probabilities:
        """Softmax of the logits, row by row."""
        return probabilities(self.parameters)


def probabilities(parameters: ArchitectureParameters) -> Probabilities:
    """Softmax of the logits, row by row and without the rows' fillings: what the slow implementations take."""
    return Probabilities(
        **{
            granularity: [
                torch.softmax(row, 0).tolist()
                for group in parameters.shapes[granularity]
                for row in parameters.group(granularity, group).detach()
            ]
            for granularity in ("alpha", "beta", "gamma")
        }
    )


@st.composite
def cases(draw: st.DrawFn, *, dag: bool | None = None) -> Case:
    """A graph and logits between −3 and 3.

    Nodes take one of their edges, two of them, or all; they add or concatenate, some are always computed. Edges may have
    a fixed operator, one after the chosen one, or none.

    Args:
        draw: hypothesis's.
        dag: whether every node is always computed; either where not given.
    """
    rows = _Rows(draw)
    dag = draw(st.booleans()) if dag is None else dag
    nodes = [_node(draw, rows) for _ in range(draw(st.integers(2, 5)))]
    edges: list[Edge] = []
    for destination in range(1, len(nodes)):
        last = destination == len(nodes) - 1
        sources = sorted(draw(st.sets(st.integers(0, destination - 1), min_size=last)))
        for source, selection in zip(sources, _selections(draw, rows, len(sources)), strict=True):
            edges.append(_edge(draw, rows, nodes, source, destination, selection))
    ends = st.sets(st.integers(1, len(nodes) - 1), min_size=1)
    graph = LatencyGraph(
        nodes=tuple(_with_operators(draw, edges, node, place) for place, node in enumerate(nodes)),
        edges=tuple(edges),
        outputs=None if dag else tuple(sorted(draw(ends))),
        fixed=tuple(OperatorSpec(kind="conv_bn_relu", in_channels=3, out_channels=n, height=8, width=8) for n in range(1, 3)),
    )
    graph = _once(graph, rows.counts)
    assume(any(rows.counts.values()))
    # No more architectures than can be enumerated.
    assume(prod(rows.counts["alpha"]) * prod(rows.counts["gamma"]) <= MOST_COMBINATIONS and prod(rows.counts["beta"]) <= 20)
    shapes = {name: _groups(counts) for name, counts in rows.counts.items()}
    return Case(graph, shapes, draw(parameters(shapes)))


def _selections(draw: st.DrawFn, rows: _Rows, edges: int) -> list[Selection | None]:
    """How β selects a node's edges: one of them, two, one or two beside one that is always taken, or not at all."""
    how = draw(st.sampled_from(["one", "two", "all", "beside"]))
    if edges < 2 or how == "all":
        return [None] * edges
    free = edges - 1 if how == "beside" and edges > 2 else edges
    columns = list(combinations(range(free), 2 if how == "two" and free > 2 else 1))
    row = rows.new("beta", len(columns))
    taken: list[Selection | None] = [(row, tuple(c for c, column in enumerate(columns) if e in column)) for e in range(free)]
    return taken + [None] * (edges - free)


def _once(graph: LatencyGraph, counts: dict[str, list[int]]) -> LatencyGraph:
    """The graph, in which what one network could contain twice is always computed."""
    while True:
        try:
            check_graph(graph, counts)
        except InvalidSpecError as error:
            found = re.match(r"node (\d+) can be reached twice", str(error))
            if found is None:
                raise
            place = int(found[1])
            nodes = [replace(node, always=node.always or i == place) for i, node in enumerate(graph.nodes)]
            graph = replace(graph, nodes=tuple(nodes))
        else:
            return graph


@st.composite
def parameters(draw: st.DrawFn, shapes: ParameterShapes) -> ArchitectureParameters:
    """Float64 logits between −3 and 3 for every row."""
    logits = st.floats(-3, 3, width=32)
    groups = {
        granularity: {
            name: draw(st.lists(st.lists(logits, min_size=n, max_size=n), min_size=rows, max_size=rows))
            for name, (rows, n) in named.items()
        }
        for granularity, named in shapes.items()
    }
    return ArchitectureParameters.from_json(groups, shapes, dtype=torch.float64)


class _Rows:
    """Rows of α, β, γ by their number of choices, as they are asked for."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self.counts: dict[str, list[int]] = {"alpha": [], "beta": [], "gamma": []}

    def new(self, granularity: str, choices: int) -> int:
        self.counts[granularity].append(choices)
        return len(self.counts[granularity]) - 1

    def new_or_shared(self, granularity: str, choices: int) -> int:
        known = [row for row, count in enumerate(self.counts[granularity]) if count == choices]
        shared: int | None = self._draw(st.sampled_from([None, *known]))
        return self.new(granularity, choices) if shared is None else shared


def _groups(counts: list[int]) -> dict[str, tuple[int, int]]:
    """Runs of equally many choices, each a group, in order."""
    runs = [list(run) for _, run in groupby(counts)]
    return {f"group {index}": (len(run), run[0]) for index, run in enumerate(runs)}


def _node(draw: st.DrawFn, rows: _Rows) -> Node:
    first, count = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    join = draw(st.sampled_from(["sum", "concat"])) if count == 1 else "sum"
    row = None if count == 1 else rows.new_or_shared("gamma", count)
    return Node(tuple(range(first, first + count)), row, join, always=draw(st.integers(0, 3)) == 0)


def _with_operators(draw: st.DrawFn, edges: list[Edge], node: Node, place: int) -> Node:
    """The node with up to two operators of its own, one of them only under some choices of its edges."""
    row = next((edge.selection[0] for edge in edges if edge.destination == place and edge.selection is not None), None)
    conditional = None if row is None else (row, (0,))
    operators = tuple(
        NodeOperator(tuple(_operator("skip", (n, n), (30 + place, 8)) for n in node.channels), selection)
        for selection in draw(st.sampled_from([(), (None,), (None, conditional)]))
    )
    return replace(node, operators=operators)


def _edge(draw: st.DrawFn, rows: _Rows, nodes: list[Node], source: int, destination: int, selection: Selection | None) -> Edge:
    def matrix(kind: str, height: int) -> OperatorMatrix:
        # Sides that differ by edge make its operators different from those of all others.
        ends = nodes[source].channels, nodes[destination].channels
        return tuple(tuple(_operator(kind, (a, b), (height, 8 + destination)) for b in ends[1]) for a in ends[0])

    kinds = draw(st.integers(0, len(KINDS)))
    searched = kinds > 1 or (kinds == 1 and draw(st.booleans()))
    return Edge(
        source,
        destination,
        rows.new_or_shared("alpha", kinds) if searched else None,
        selection,
        tuple(matrix(kind, 8 + source) for kind in KINDS[:kinds]),
        tuple(matrix("conv3x3", 20 + source) for _ in range(draw(st.integers(0, 1)))),
    )


def _operator(kind: str, channels: tuple[int, int], size: tuple[int, int]) -> OperatorSpec:
    return OperatorSpec(kind=kind, in_channels=channels[0], out_channels=channels[1], height=size[0], width=size[1])
