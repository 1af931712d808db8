"""A latency graph against one table: everything that the latency terms need, gathered once, as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.networks.graph_checks import check_graph
from models.networks.structure import Edge, LatencyGraph, Node, OperatorMatrix
from models.spaces.base import ParameterShapes
from models.spaces.registry import create_space
from models.spec.operators import OperatorSpec
from nas_client.errors import SensitivityError
from nas_client.latency.parameters import choice_counts, complete_shapes, stacked_shape

if TYPE_CHECKING:
    from nas_client.table import LookupTable  # which knows HTTP; a loss needs none

Lookup = Callable[[OperatorSpec], float]
"""An operator's table value in ms. Raises MissingEntryError where there is none."""


@dataclass(frozen=True, eq=False)
class Coefficients:
    """A latency graph with the values of one table, as tensors. What a node applies itself is an edge to itself here.

    Attributes:
        shapes: of the architecture parameters' groups.
        cost_ms: table values, float64; shape (edges, operators, widths, widths), in which the widths are those of the source
            and of the destination; zero where an edge has fewer of them.
        operator_row: row of α; shape (edges,). Where the operator is fixed, one beyond the last.
        source_row, destination_row: rows of γ at both ends; shape (edges,). Where a width is fixed, one beyond the last.
        selected: the edges that β selects, once for each choice that does; shape (selections,).
        selection: index into the flattened probabilities of β, of each of those; shape (selections,).
        source, destination: nodes at both ends; shape (edges,). No source is larger than its destination.
        passing: whether the edge's source is reached through it: it is another node, and not always computed; shape (edges,).
        outputs: a node's reach of itself: how many branches end there, 1 where it is always computed; shape (nodes,), float64.
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
    passing: Tensor
    outputs: Tensor
    fixed_ms: float

    @property
    def nodes(self) -> int:
        """How many there are."""
        return len(self.outputs)

    @property
    def fixed_operators(self) -> bool:
        """Whether there are edges whose operator nothing chooses."""
        return bool((self.operator_row == sum(rows for rows, _ in self.shapes["alpha"].values())).any())


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
    check_graph(graph, counts)
    values: dict[str, float] = {}

    def value_ms(operator: OperatorSpec) -> float:
        key = operator.key()
        if key not in values:
            values[key] = lookup(operator)
        return values[key]

    edges = (*graph.edges, *_own_operators(graph))
    choices = {name: stacked_shape(groups)[1] for name, groups in complete.items()}
    cost_ms = torch.zeros(len(edges), choices["alpha"], choices["gamma"], choices["gamma"], dtype=torch.float64)
    for padded, edge in zip(cost_ms, edges, strict=True):
        known = _edge_cost_ms(edge, graph.nodes, value_ms)
        padded[tuple(slice(size) for size in known.shape)] = known

    def row_of(granularity: str, row: int | None) -> int:
        return len(counts[granularity]) if row is None else row

    fixed_ms = sum(value_ms(operator) for operator in graph.fixed)
    if values and not any(values.values()):
        raise SensitivityError(
            f"each of the {len(values)} operators of this search space takes 0 ms in the table: "
            "a latency that is always zero weighs nothing and trains nothing",
            hint="Check how the table was made, or measure one with `nas-client profile`.",
        )
    selections = [(index, *edge.selection) for index, edge in enumerate(edges) if edge.selection is not None]
    chosen = [(index, row * choices["beta"] + choice) for index, row, columns in selections for choice in columns]
    return Coefficients(
        shapes=complete,
        cost_ms=cost_ms,
        operator_row=_index(row_of("alpha", edge.operator_row) for edge in edges),
        source_row=_index(row_of("gamma", graph.nodes[edge.source].width_row) for edge in edges),
        destination_row=_index(row_of("gamma", graph.nodes[edge.destination].width_row) for edge in edges),
        selected=_index(index for index, _ in chosen),
        selection=_index(place for _, place in chosen),
        source=_index(edge.source for edge in edges),
        destination=_index(edge.destination for edge in edges),
        passing=torch.tensor([edge.source < edge.destination and not graph.always(edge.source) for edge in edges]),
        outputs=_outputs(graph),
        fixed_ms=graph.branches * fixed_ms,
    )


def _own_operators(graph: LatencyGraph) -> Iterator[Edge]:
    """What each node applies itself, as edges from the node to itself."""
    for index, node in enumerate(graph.nodes):
        for own in node.operators:
            matrix = tuple((operator,) * len(own.by_width) for operator in own.by_width)
            yield Edge(index, index, None, own.selection, (matrix,))


def _outputs(graph: LatencyGraph) -> Tensor:
    outputs = _index(graph.outputs or ()).bincount(minlength=len(graph.nodes)).double()
    return torch.where(torch.tensor([graph.always(node) for node in range(len(graph.nodes))]), 1.0, outputs)


def _edge_cost_ms(edge: Edge, nodes: Sequence[Node], value_ms: Lookup) -> Tensor:
    """Shape: (operators, widths of the source, widths of the destination)."""

    def of(matrix: OperatorMatrix) -> list[list[float]]:
        return [[value_ms(operator) for operator in row] for row in matrix]

    widths = len(nodes[edge.source].channels), len(nodes[edge.destination].channels)
    cost_ms = torch.tensor([of(matrix) for matrix in edge.operators], dtype=torch.float64).view(-1, *widths)
    if not edge.operators:
        cost_ms = cost_ms.new_zeros(1, *widths)
    for matrix in edge.after:  # whatever is chosen: the probabilities of α sum to one
        cost_ms = cost_ms + torch.tensor(of(matrix), dtype=torch.float64)
    row = nodes[edge.source].width_row
    if row is None or row != nodes[edge.destination].width_row:
        return cost_ms
    # One row of γ at both ends: the widths are equal. A cost that takes the source's width for both says just that, because
    # the destination's probabilities sum to one; the contraction needs no special case.
    return cost_ms.diagonal(dim1=1, dim2=2)[:, :, None].expand_as(cost_ms)


def _index(values: Iterable[int]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.int64)
