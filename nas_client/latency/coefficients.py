"""A latency graph against one table: everything that the latency terms need, gathered once, as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.spaces.base import Edge, LatencyGraph, Node, ParameterShapes
from models.spaces.registry import create_space
from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec
from nas_client.errors import SensitivityError
from nas_client.latency.parameters import Granularity, choice_counts, complete_shapes, stacked_shape

if TYPE_CHECKING:
    from nas_client.table import LookupTable  # which knows HTTP; a loss needs none

Lookup = Callable[[OperatorSpec], float]
"""An operator's table value in ms. Raises MissingEntryError where there is none."""


@dataclass(frozen=True, eq=False)
class Coefficients:
    """A latency graph with the values of one table, as tensors.

    Attributes:
        shapes: of the architecture parameters' groups.
        cost_ms: table values, float64; shape (edges, operators, widths, widths), in which the widths are those of the source
            and of the destination; zero where an edge has fewer of them.
        operator_row: row of α; shape (edges,).
        source_row, destination_row: rows of γ at both ends; shape (edges,). Where a width is fixed, one beyond the last.
        selected: the edges that β selects; shape (selected edges,).
        selection: index into the flattened probabilities of β, of each of those; shape (selected edges,).
        source, destination: nodes at both ends; shape (edges,). Every source is smaller than its destination.
        nodes: how many there are.
        outputs: how many branches end at a node; shape (nodes,), float64. None where every edge is always used.
        fixed_ms: what every architecture contains, over all branches.
    """

    shapes: ParameterShapes
    cost_ms: Tensor
    operator_row: Tensor
    source_row: Tensor
    destination_row: Tensor
    selected: Tensor
    selection: Tensor
    source: Tensor
    destination: Tensor
    nodes: int
    outputs: Tensor | None
    fixed_ms: float


def coefficients_of(table: LookupTable) -> Coefficients:
    """The coefficients of a table, for its entire search space.

    Raises:
        MissingEntryError: the table lacks an operator.
        InvalidSpecError: its search space is not known here.
        SensitivityError: every value is zero.
    """
    space = create_space(table.info.space)
    return gather(space.latency_graph(), space.parameter_shapes(), table.lookup)


def gather(graph: LatencyGraph, shapes: ParameterShapes, lookup: Lookup) -> Coefficients:
    """The coefficients of that graph; each distinct operator is looked up once.

    Args:
        graph: of a search space, or of some of its branches (`dataclasses.replace(graph, outputs=…)`).
        shapes: the search space's parameter shapes.
        lookup: the table.

    Raises:
        InvalidSpecError: the graph and the shapes contradict each other.
        MissingEntryError: from `lookup`.
        SensitivityError: every value is zero.
    """
    complete = complete_shapes(shapes)
    counts = {name: choice_counts(groups) for name, groups in complete.items()}
    for index, edge in enumerate(graph.edges):
        _check_edge(index, edge, graph.nodes, counts)
    values: dict[str, float] = {}

    def value_ms(operator: OperatorSpec) -> float:
        key = operator.key()
        if key not in values:
            values[key] = lookup(operator)
        return values[key]

    choices = {name: stacked_shape(groups)[1] for name, groups in complete.items()}
    cost_ms = torch.zeros(len(graph.edges), choices["alpha"], choices["gamma"], choices["gamma"], dtype=torch.float64)
    for padded, edge in zip(cost_ms, graph.edges, strict=True):
        known = _edge_cost_ms(edge, graph.nodes, value_ms)
        padded[tuple(slice(size) for size in known.shape)] = known

    def width_row(node: int) -> int:
        row = graph.nodes[node].width_row
        return len(counts["gamma"]) if row is None else row

    fixed_ms = sum(value_ms(operator) for operator in graph.fixed)
    if values and not any(values.values()):
        raise SensitivityError(
            f"each of the {len(values)} operators of this search space takes 0 ms in the table: "
            "a latency that is always zero weighs nothing and trains nothing",
            hint="Check how the table was made, or measure one with `nas-client profile`.",
        )
    selections = {index: edge.selection for index, edge in enumerate(graph.edges) if edge.selection is not None}
    return Coefficients(
        shapes=complete,
        cost_ms=cost_ms,
        operator_row=_index(edge.operator_row for edge in graph.edges),
        source_row=_index(width_row(edge.source) for edge in graph.edges),
        destination_row=_index(width_row(edge.destination) for edge in graph.edges),
        selected=_index(selections),
        selection=_index(row * choices["beta"] + choice for row, choice in selections.values()),
        source=_index(edge.source for edge in graph.edges),
        destination=_index(edge.destination for edge in graph.edges),
        nodes=len(graph.nodes),
        outputs=None if graph.outputs is None else _index(graph.outputs).bincount(minlength=len(graph.nodes)).double(),
        fixed_ms=graph.branches * fixed_ms,
    )


def _edge_cost_ms(edge: Edge, nodes: Sequence[Node], value_ms: Lookup) -> Tensor:
    """Shape: (operators, widths of the source, widths of the destination)."""
    values = [[[value_ms(operator) for operator in by_out] for by_out in by_in] for by_in in edge.operators]
    cost_ms = torch.tensor(values, dtype=torch.float64)
    row = nodes[edge.source].width_row
    if row is None or row != nodes[edge.destination].width_row:
        return cost_ms
    # One row of γ at both ends: the widths are equal. A cost that takes the source's width for both says just that, because
    # the destination's probabilities sum to one; the contraction needs no special case.
    return cost_ms.diagonal(dim1=1, dim2=2)[:, :, None].expand_as(cost_ms)


def _index(values: Iterable[int]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.int64)


def _check_edge(index: int, edge: Edge, nodes: Sequence[Node], counts: Mapping[str, Sequence[int]]) -> None:
    """Raises InvalidSpecError unless the edge goes forwards and has an operator for all that its parameters may choose."""
    if not edge.source < edge.destination:
        raise InvalidSpecError(f"edge {index} leads from node {edge.source} back to node {edge.destination}")
    operators = _choices_of("alpha", edge.operator_row, counts)
    widths = []
    for node in (edge.source, edge.destination):
        widths.append(_choices_of("gamma", nodes[node].width_row, counts))
        if len(nodes[node].channels) != widths[-1]:
            raise InvalidSpecError(f"node {node} has {len(nodes[node].channels)} widths, its row of gamma {widths[-1]} choices")
    expected = (operators, *widths)
    actual = {(len(edge.operators), len(by_in), len(by_out)) for by_in in edge.operators for by_out in by_in}
    if actual != {expected}:
        shapes = " and ".join("×".join(map(str, shape)) for shape in sorted(actual)) or "no"
        raise InvalidSpecError(f"edge {index} has {shapes} operators, its parameters {'×'.join(map(str, expected))} choices")
    if edge.selection is not None:
        row, choice = edge.selection
        if not 0 <= choice < _choices_of("beta", row, counts):
            raise InvalidSpecError(f"edge {index} is choice {choice} of row {row} of beta, which has {counts['beta'][row]}")


def _choices_of(granularity: Granularity, row: int | None, counts: Mapping[str, Sequence[int]]) -> int:
    if row is None:
        return 1
    if not 0 <= row < len(counts[granularity]):
        raise InvalidSpecError(f"{granularity} has no row {row}, but {len(counts[granularity])} rows")
    return counts[granularity][row]
