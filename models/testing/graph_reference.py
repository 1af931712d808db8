"""Two slow and obvious ways to the expected latency of a `LatencyGraph`, against which data and fast code are tested.

Probabilities are one list of rows per granularity, counted through its groups; a row is a list of floats that sum to one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from models.networks.structure import Selection
from models.spaces.base import Edge, LatencyGraph, ParameterShapes
from models.spec.operators import OperatorSpec

Lookup = Callable[[OperatorSpec], float]
Rows = list[list[float]]


@dataclass(frozen=True)
class Probabilities:
    """α, β, γ after softmax."""

    alpha: Rows
    beta: Rows
    gamma: Rows


def made_up_ms(operator: OperatorSpec) -> float:
    """A table value for every operator: between 0.1 and 1.1, and different for almost every two."""
    return 0.1 + int(operator.key()[:8], 16) / 16**8


def random_probabilities(shapes: ParameterShapes, rng: np.random.Generator) -> Probabilities:
    """Rows drawn uniformly from the simplex."""
    return Probabilities(
        **{name: _rows(groups, lambda n: rng.dirichlet(np.ones(n)).tolist()) for name, groups in shapes.items()}
    )


def random_choices(shapes: ParameterShapes, rng: np.random.Generator) -> Probabilities:
    """Rows with one 1 each: a discrete choice everywhere."""
    return Probabilities(
        **{name: _rows(groups, lambda n: np.eye(n)[rng.integers(n)].tolist()) for name, groups in shapes.items()}
    )


def _rows(groups: Mapping[str, tuple[int, int]], row: Callable[[int], list[float]]) -> Rows:
    return [row(choices) for count, choices in groups.values() for _ in range(count)]


def grouped(shapes: ParameterShapes, given: Probabilities) -> dict[str, dict[str, np.ndarray]]:
    """As a space decodes them: one array for each group."""
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for name, groups in shapes.items():
        rows = iter(getattr(given, name))
        arrays[name] = {group: np.array([next(rows) for _ in range(count)]) for group, (count, _) in groups.items()}
    return arrays


def expected_ms(graph: LatencyGraph, given: Probabilities, lookup: Lookup) -> float:
    """Σ reach · cost + fixed, node by node (docs/latency.md)."""
    reach = [1.0 if graph.always(node) else 0.0 for node in range(len(graph.nodes))]
    for output in graph.outputs or ():
        reach[output] = 1.0
    total = graph.branches * sum(lookup(operator) for operator in graph.fixed)
    for node in reversed(range(len(graph.nodes))):
        for own in graph.nodes[node].operators:
            widths = zip(_widths(graph, node, given), own.by_width, strict=True)
            total += reach[node] * _taken(own.selection, given) * sum(p * lookup(operator) for p, operator in widths)
        for edge in (edge for edge in graph.edges if edge.destination == node):
            taken = reach[node] * _taken(edge.selection, given)
            total += taken * _edge_ms(graph, edge, given, lookup)
            if not graph.always(edge.source):
                reach[edge.source] += taken
    return total


def _taken(selection: Selection | None, given: Probabilities) -> float:
    """The probability that β selects one of these choices."""
    return 1.0 if selection is None else sum(given.beta[selection[0]][choice] for choice in selection[1])


def _edge_ms(graph: LatencyGraph, edge: Edge, given: Probabilities, lookup: Lookup) -> float:
    sources, destinations = _widths(graph, edge.source, given), _widths(graph, edge.destination, given)
    row = graph.nodes[edge.source].width_row
    one_row = row is not None and row == graph.nodes[edge.destination].width_row
    pairs = {
        (i, j): a if one_row else a * b
        for i, a in enumerate(sources)
        for j, b in enumerate(destinations)
        if i == j or not one_row
    }
    chosen = [1.0] if edge.operator_row is None else given.alpha[edge.operator_row]
    # An edge without an operator has none to go with its 1.
    matrices = [*zip(chosen, edge.operators, strict=False), *((1.0, matrix) for matrix in edge.after)]
    return sum(p * width * lookup(matrix[i][j]) for p, matrix in matrices for (i, j), width in pairs.items())


def _widths(graph: LatencyGraph, node: int, given: Probabilities) -> list[float]:
    row = graph.nodes[node].width_row
    return [1.0] if row is None else given.gamma[row]


def enumerated_ms(graph: LatencyGraph, given: Probabilities, lookup: Lookup) -> float:
    """The mean over all architectures: every choice of β, every operator and every width of what it leads to, one by one.

    Each output has a network of its own; what is always computed stands beside them, once.
    """
    total = graph.branches * sum(lookup(operator) for operator in graph.fixed)
    known: dict[tuple[Part, ...], float] = {}
    for chosen in product(*(range(len(row)) for row in given.beta)):
        probability = float(np.prod([row[choice] for row, choice in zip(given.beta, chosen, strict=True)]))
        for parts in contained(graph, chosen):
            if parts not in known:
                known[parts] = _mean_over_choices(graph, parts, given, lookup)
            total += probability * known[parts]
    return total


def enumerated_networks(graph: LatencyGraph, shapes: ParameterShapes, alternatives: Sequence[Sequence[int]]) -> int:
    """How many networks there are: for every choice of β what it consists of, and of that every operator and every width.

    Args:
        graph: of a space without parts that only β tells apart.
        shapes: of its parameters.
        alternatives: for each, the places of its outputs among the graph's; empty: all of them.
    """
    counts = {name: [n for rows, n in groups.values() for _ in range(rows)] for name, groups in shapes.items()}
    total = 0
    for places in alternatives:
        found = set()
        for chosen in product(*map(range, counts["beta"])):
            *branches, always = contained(graph, chosen)
            taken = [branches[place] for place in places] if places else branches
            found.add(frozenset((always, *taken)))
        for parts in found:
            rows = {row for network in parts for part in network for row in part.rows(graph)}
            total += math.prod(counts[granularity][row] for granularity, row in rows)
    return total


class Part(NamedTuple):
    """One operator of a network: of an edge, of those after its chosen one, or of a node itself.

    Attributes:
        of: index of the edge or the node.
        after: which of those after the edge's own; None: the edge's own.
        own: which of the node's; None: it is an edge's.
    """

    of: int
    after: int | None = None
    own: int | None = None

    def operator(self, graph: LatencyGraph, choice: Callable[[str, int | None], int]) -> OperatorSpec:
        """The operator under a choice of each row, by granularity; of row None, the only one."""
        if self.own is not None:
            node = graph.nodes[self.of]
            return node.operators[self.own].by_width[choice("gamma", node.width_row)]
        edge = graph.edges[self.of]
        matrix = edge.operators[choice("alpha", edge.operator_row)] if self.after is None else edge.after[self.after]
        ends = (graph.nodes[node].width_row for node in (edge.source, edge.destination))
        source, destination = (choice("gamma", row) for row in ends)
        return matrix[source][destination]

    def rows(self, graph: LatencyGraph) -> set[tuple[str, int]]:
        """The rows that decide it, with their granularity."""
        if self.own is not None:
            found = {("gamma", graph.nodes[self.of].width_row)}
        else:
            edge = graph.edges[self.of]
            found = {("gamma", graph.nodes[node].width_row) for node in (edge.source, edge.destination)}
            found |= {("alpha", edge.operator_row)} if self.after is None else set()
        return {(granularity, row) for granularity, row in found if row is not None}


def contained(graph: LatencyGraph, chosen: Sequence[int]) -> list[tuple[Part, ...]]:
    """What the network of each output consists of, and last what is always computed, given the choice of each row of β."""
    always = {node for node in range(len(graph.nodes)) if graph.always(node)}
    return [_upstream(graph, ends, always, chosen) for ends in (*({output} - always for output in graph.outputs or ()), always)]


def _upstream(graph: LatencyGraph, ends: set[int], always: set[int], chosen: Sequence[int]) -> tuple[Part, ...]:
    """What leads to these ends, up to other nodes that are always computed. Walks backwards; nothing is taken twice."""
    nodes, parts = set(ends), []
    for index in reversed(range(len(graph.edges))):
        edge = graph.edges[index]
        if edge.destination in nodes and _selects(edge.selection, chosen):
            nodes |= {edge.source} - always
            parts += [Part(index)] if edge.operators else []
            parts += [Part(index, after=place) for place in range(len(edge.after))]
    for node in sorted(nodes):
        own = enumerate(graph.nodes[node].operators)
        parts += [Part(node, own=place) for place, operator in own if _selects(operator.selection, chosen)]
    return tuple(parts)


def _selects(selection: Selection | None, chosen: Sequence[int]) -> bool:
    return selection is None or chosen[selection[0]] in selection[1]


def _mean_over_choices(graph: LatencyGraph, parts: tuple[Part, ...], given: Probabilities, lookup: Lookup) -> float:
    rows = sorted(set().union(*(part.rows(graph) for part in parts)))
    total = 0.0
    for chosen in product(*(range(len(getattr(given, granularity)[row])) for granularity, row in rows)):
        known = dict(zip(rows, chosen, strict=True))
        probability = float(np.prod([getattr(given, granularity)[row][choice] for (granularity, row), choice in known.items()]))

        def choice(granularity: str, row: int | None, known: dict[tuple[str, int], int] = known) -> int:
            return 0 if row is None else known[granularity, row]

        total += probability * sum(lookup(part.operator(graph, choice)) for part in parts)
    return total
