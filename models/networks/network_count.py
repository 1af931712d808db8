"""How many networks a latency graph stands for, exactly, without listing them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod

from models.networks.graph_checks import ChoiceCounts
from models.networks.structure import LatencyGraph

Row = tuple[str, int]
"""Granularity and row."""

State = tuple[frozenset[int], frozenset[tuple[Row, int]]]
"""What is known of a network backwards to some node: the earlier nodes that it needs, and the choices of rows that earlier
nodes look at too. A choice of α or γ is written as 0: its network is as many as it has."""


def count_networks(graph: LatencyGraph, counts: ChoiceCounts, outputs: Sequence[int] | None = None) -> int:
    """How many different networks the choices of all rows of α, β and γ lead to. Rows that a network does not look at make no
    difference, and a row that it looks at in several places is one choice.

    By dynamic programming backwards over the nodes: states that need the same nodes are counted together.

    Args:
        graph: one that `check_graph` accepts.
        counts: choices of each row, by granularity.
        outputs: nodes at which the network's branches end; the graph's own where None.
    """
    ends = graph.outputs if outputs is None else outputs
    needed = {node for node in range(len(graph.nodes)) if graph.always(node)} | set(ends or ())
    rows = [frozenset(_rows(graph, node)) for node in range(len(graph.nodes))]
    first = {row: node for node in reversed(range(len(graph.nodes))) for row in rows[node]}
    states: dict[State, int] = {(frozenset(needed), frozenset()): 1}
    for node in reversed(range(len(graph.nodes))):
        after: dict[State, int] = defaultdict(int)
        for (needs, known), networks in states.items():
            found = _through(graph, node, counts, dict(known)) if node in needs else [(frozenset[int](), dict(known), 1)]
            for sources, chosen, ways in found:
                # What no earlier node looks at need not be told apart.
                kept = frozenset((row, choice) for row, choice in chosen.items() if first[row] < node)
                after[(needs - {node}) | sources, kept] += networks * ways
        states = after
    return sum(states.values())


def _through(
    graph: LatencyGraph, node: int, counts: ChoiceCounts, known: Mapping[Row, int]
) -> Iterator[tuple[frozenset[int], dict[Row, int], int]]:
    """For each choice of β at that node: the sources it takes, all choices then known, and networks for each so far."""
    selecting = sorted({row for row in _rows(graph, node) if row[0] == "beta"})
    options = [(known[row],) if row in known else range(counts["beta"][row[1]]) for row in selecting]
    for choices in product(*options):
        beta = dict(zip(selecting, choices, strict=True))
        taken = []
        for index in graph.entering(node):
            selection = graph.edges[index].selection
            if selection is None or beta["beta", selection[0]] in selection[1]:
                taken.append(graph.edges[index])
        free: set[Row] = {("alpha", edge.operator_row) for edge in taken if edge.operator_row is not None}
        if (width := graph.nodes[node].width_row) is not None:
            free.add(("gamma", width))
        new = free - known.keys()
        ways = prod(counts[granularity][row] for granularity, row in new)
        yield frozenset(edge.source for edge in taken), {**known, **beta, **dict.fromkeys(new, 0)}, ways


def _rows(graph: LatencyGraph, node: int) -> Iterator[Row]:
    """The rows that choose at that node: among its edges, their operators, and its widths."""
    own = graph.nodes[node]
    if own.width_row is not None:
        yield "gamma", own.width_row
    for index in graph.entering(node):
        edge = graph.edges[index]
        if edge.operator_row is not None:
            yield "alpha", edge.operator_row
        if edge.selection is not None:
            yield "beta", edge.selection[0]
    for operator in own.operators:
        if operator.selection is not None:
            yield "beta", operator.selection[0]
