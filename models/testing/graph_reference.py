"""Two slow and obvious ways to the expected latency of a `LatencyGraph`, against which data and fast code are tested.

Probabilities are one list of rows per granularity, counted through its groups; a row is a list of floats that sum to one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

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
    """Σ reach · cost + fixed, edge by edge (docs/latency.md)."""
    reach = [1.0 if graph.outputs is None else 0.0 for _ in graph.nodes]
    for output in graph.outputs or ():
        reach[output] = 1.0
    total = graph.branches * sum(lookup(operator) for operator in graph.fixed)
    for edge in reversed(graph.edges):
        taken = reach[edge.destination]
        if graph.outputs is not None:
            taken *= 1.0 if edge.selection is None else given.beta[edge.selection[0]][edge.selection[1]]
            reach[edge.source] += taken
        total += taken * _edge_ms(graph, edge, given, lookup)
    return total


def _edge_ms(graph: LatencyGraph, edge: Edge, given: Probabilities, lookup: Lookup) -> float:
    sources, destinations = _widths(graph, edge.source, given), _widths(graph, edge.destination, given)
    return sum(
        p * a * b * lookup(edge.operators[k][i][j])
        for k, p in enumerate(given.alpha[edge.operator_row])
        for i, a in enumerate(sources)
        for j, b in enumerate(destinations)
    )


def _widths(graph: LatencyGraph, node: int, given: Probabilities) -> list[float]:
    row = graph.nodes[node].width_row
    return [1.0] if row is None else given.gamma[row]


def enumerated_ms(graph: LatencyGraph, given: Probabilities, lookup: Lookup) -> float:
    """The mean over all architectures: every way through the graph, every operator and every width on it, one by one."""
    fixed = sum(lookup(operator) for operator in graph.fixed)
    if graph.outputs is None:
        return fixed + _mean_over_choices(graph, graph.edges, given, lookup)
    total = 0.0
    for output in graph.outputs:
        for probability, edges in _ways(graph, output, given):
            total += probability * (fixed + _mean_over_choices(graph, edges, given, lookup))
    return total


def _ways(graph: LatencyGraph, node: int, given: Probabilities) -> Iterator[tuple[float, tuple[Edge, ...]]]:
    """Every path of edges that ends at the node, with its probability under β."""
    entering = [edge for edge in graph.edges if edge.destination == node]
    if not entering:
        yield 1.0, ()
    for edge in entering:
        chosen = 1.0 if edge.selection is None else given.beta[edge.selection[0]][edge.selection[1]]
        for probability, edges in _ways(graph, edge.source, given):
            yield probability * chosen, (*edges, edge)


def _mean_over_choices(graph: LatencyGraph, edges: tuple[Edge, ...], given: Probabilities, lookup: Lookup) -> float:
    operator_rows = sorted({edge.operator_row for edge in edges})
    nodes = sorted({node for edge in edges for node in (edge.source, edge.destination)})
    width_rows = sorted({row for node in nodes if (row := graph.nodes[node].width_row) is not None})
    total = 0.0
    for kinds in product(*(range(len(given.alpha[row])) for row in operator_rows)):
        kind = dict(zip(operator_rows, kinds, strict=True))
        for widths in product(*(range(len(given.gamma[row])) for row in width_rows)):
            width: dict[int | None, int] = {None: 0, **dict(zip(width_rows, widths, strict=True))}
            probability = float(
                np.prod([given.alpha[row][k] for row, k in kind.items()])
                * np.prod([given.gamma[row][w] for row, w in zip(width_rows, widths, strict=True)])
            )
            total += probability * sum(
                lookup(
                    edge.operators[kind[edge.operator_row]][width[graph.nodes[edge.source].width_row]][
                        width[graph.nodes[edge.destination].width_row]
                    ]
                )
                for edge in edges
            )
    return total
