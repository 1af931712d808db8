"""Random latency graphs, small enough to enumerate: fixed and searched widths, shared rows, rows of unequal choices, DAGs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from math import prod

import torch
from hypothesis import assume
from hypothesis import strategies as st

from models.spaces.base import Edge, LatencyGraph, Node, ParameterShapes
from models.spec.operators import OperatorSpec
from models.testing.graph_reference import Probabilities
from nas_client.latency.parameters import ArchitectureParameters

KINDS = ("skip", "conv3x3", "zoomed_conv3x3")
MOST_COMBINATIONS = 3000


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

    Args:
        draw: hypothesis's.
        dag: whether every edge is always used; either where not given.
    """
    rows = _Rows(draw)
    nodes = tuple(_node(draw, rows) for _ in range(draw(st.integers(2, 4))))
    dag = draw(st.booleans()) if dag is None else dag
    edges = []
    for destination in range(1, len(nodes)):
        sources = sorted(draw(st.sets(st.integers(0, destination - 1), min_size=destination == len(nodes) - 1)))
        beta_row = rows.new("beta", len(sources)) if len(sources) > 1 and not dag else None
        for choice, source in enumerate(sources):
            selection = None if beta_row is None else (beta_row, choice)
            edges.append(_edge(draw, rows, nodes, source, destination, selection))
    assume(prod(rows.counts["alpha"]) * prod(rows.counts["gamma"]) <= MOST_COMBINATIONS)
    ends = st.sets(st.integers(1, len(nodes) - 1), min_size=1)
    graph = LatencyGraph(
        nodes=nodes,
        edges=tuple(edges),
        outputs=None if dag else tuple(sorted(draw(ends))),
        fixed=tuple(OperatorSpec(kind="conv_bn_relu", in_channels=3, out_channels=n, height=8, width=8) for n in range(1, 3)),
    )
    shapes = {name: _groups(counts) for name, counts in rows.counts.items()}
    return Case(graph, shapes, draw(parameters(shapes)))


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
    return Node(tuple(range(first, first + count)), None if count == 1 else rows.new_or_shared("gamma", count))


def _edge(
    draw: st.DrawFn, rows: _Rows, nodes: tuple[Node, ...], source: int, destination: int, selection: tuple[int, int] | None
) -> Edge:
    kinds = draw(st.integers(1, len(KINDS)))
    # Sides that differ by edge make its operators different from those of all others.
    height, width = 8 + source, 8 + destination
    operators = tuple(
        tuple(
            tuple(
                OperatorSpec(kind=kind, in_channels=a, out_channels=b, height=height, width=width)
                for b in nodes[destination].channels
            )
            for a in nodes[source].channels
        )
        for kind in KINDS[:kinds]
    )
    return Edge(source, destination, rows.new_or_shared("alpha", kinds), selection, operators)
