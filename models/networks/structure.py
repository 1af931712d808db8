"""Networks as data, without torch: the fixed network of an architecture, and the mixed operators of a supernet.

Spaces write both. Torch modules, sums of table entries, costs, the relaxed latency and the supernet are all read off the same
data, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from models.spec.operators import OperatorSpec

INPUT = "input"
"""Name of the network's input map."""


@dataclass(frozen=True, init=False)
class OperatorStep:
    """One operator, applied to earlier maps: to one, or, where it joins maps, to several.

    Attributes:
        name: of the step, and of the map that it makes.
        operator: with as many sources as are named.
        sources: the maps that it takes, in order.
        cell: where it stands in its branch, counted from 0; None where it is no cell, but of the stem or head.
        charged: whether its table entry is part of an estimate. False only for joins in the first version of a space whose
            tables do not hold them.
    """

    name: str
    operator: OperatorSpec
    sources: tuple[str, ...]
    cell: int | None
    charged: bool

    def __init__(
        self,
        name: str,
        operator: OperatorSpec,
        sources: str | Sequence[str],
        cell: int | None = None,
        *,
        charged: bool = True,
    ) -> None:
        """`sources`: a name, or several."""
        named = (sources,) if isinstance(sources, str) else tuple(sources)
        for field, value in (("name", name), ("operator", operator), ("sources", named), ("cell", cell), ("charged", charged)):
            object.__setattr__(self, field, value)


@dataclass(frozen=True)
class NetworkPlan:
    """Steps in an order in which every source comes first; the last step is the output.

    Shape: input (batch, channels, height, width) as of the steps that read `INPUT`.

    Attributes:
        steps: in that order.
        branch_ends: names of the steps whose maps end the branches: a training may use one branch there.
        auxiliary: for each auxiliary head that the space's authors trained with this network, the steps whose maps it sees,
            concatenated; None where nothing is published of them.
    """

    steps: tuple[OperatorStep, ...]
    branch_ends: tuple[str, ...] = ()
    auxiliary: tuple[tuple[str, ...], ...] | None = None

    def operators(self) -> Iterator[OperatorSpec]:
        """The operator of each charged step, in order, repeats included: the terms of an estimate."""
        return (step.operator for step in self.steps if step.charged)


OperatorMatrix = tuple[tuple[OperatorSpec, ...], ...]
"""`matrix[a][b]`: one operator at the a-th width of an edge's source and the b-th of its destination."""

Selection = tuple[int, tuple[int, ...]]
"""A row of β and those of its choices under which something is part of the network."""


@dataclass(frozen=True)
class NodeOperator:
    """An operator that a node applies itself, such as the addition of its edges' maps. No parameter chooses it.

    Attributes:
        by_width: the operator at each width of the node.
        selection: under which choices of β it is there, where the number of maps that meet depends on them; None: always.
    """

    by_width: tuple[OperatorSpec, ...]
    selection: Selection | None = None


@dataclass(frozen=True)
class Node:
    """A feature map between edges.

    Attributes:
        channels: its possible channel counts, ascending; one where the width is fixed.
        width_row: row of γ that chooses among them; None where the width is fixed.
        join: how the maps of its edges meet. After `concat` its channels are the sum of theirs, in the order of the edges, so
            that its width is fixed.
        always: it is computed, and charged once, whatever the parameters and however many nodes take it.
        scale: its sides are those of the image divided by this, rounded up. None where its edges' strides say so already.
        operators: what it applies itself, in order; the first takes what meets there.
    """

    channels: tuple[int, ...]
    width_row: int | None = None
    join: Literal["sum", "concat"] = "sum"
    always: bool = False
    scale: int | None = None
    operators: tuple[NodeOperator, ...] = ()


@dataclass(frozen=True)
class Edge:
    """One mixed operator from a node to another.

    Attributes:
        source, destination: indices into the graph's nodes.
        operator_row: row of α that chooses the operator; None where nothing does: the operator is fixed.
        selection: the choices of β under which the destination takes this edge; None where it always does. Several columns
            of a row take it where each stands for several edges, as in "the best two of n".
        operators: for each choice of α its matrix over the widths of both ends. One where the operator is fixed, none where the
            edge passes its map on as it is.
        after: fixed operators that follow the chosen one, in order, such as the resizing from one scale to another.
    """

    source: int
    destination: int
    operator_row: int | None
    selection: Selection | None
    operators: tuple[OperatorMatrix, ...]
    after: tuple[OperatorMatrix, ...] = ()


@dataclass(frozen=True)
class LatencyGraph:
    """The mixed operators whose expected latency is the loss.

    Attributes:
        nodes, edges: topologically ordered: an edge's source comes before its destination.
        outputs: nodes at which a branch ends; reach is 1 there and is passed backwards through β, summed over branches.
            None where every node is always computed (DAG cells).
        fixed: operators that every branch contains whatever the parameters (a stem). Counted once per output, or once
            where `outputs` is None.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    outputs: tuple[int, ...] | None
    fixed: tuple[OperatorSpec, ...] = ()

    @property
    def branches(self) -> int:
        """How many times the fixed operators count."""
        return 1 if self.outputs is None else len(self.outputs)

    def always(self, node: int) -> bool:
        """Whether that node is computed whatever the parameters."""
        return self.outputs is None or self.nodes[node].always

    def entering(self, node: int) -> tuple[int, ...]:
        """Indices of the edges that lead to that node, in order."""
        return tuple(index for index, edge in enumerate(self.edges) if edge.destination == node)

    def taken(self, node: int, choice: int | None) -> tuple[int, ...]:
        """Indices of the edges that the node takes under a choice of its row of β, in order."""
        found = ((index, self.edges[index].selection) for index in self.entering(node))
        return tuple(index for index, selection in found if selection is None or choice in selection[1])

    def operators(self) -> Iterator[OperatorSpec]:
        """Every operator of the graph, repeats included."""
        for edge in self.edges:
            for matrix in (*edge.operators, *edge.after):
                for row in matrix:
                    yield from row
        for node in self.nodes:
            for own in node.operators:
                yield from own.by_width
        yield from self.fixed


def downsample_rate(image: tuple[int, int], size: tuple[int, int]) -> int:
    """By how much a map of that height and width is smaller than the image, sides rounded up.

    A power of two where one fits, else the least number that does, else the ratio of the heights.
    """
    most = 2 * max(1, image[0] // size[0])
    fitting = [rate for rate in range(1, most + 1) if tuple(-(-side // rate) for side in image) == size]
    powers = [rate for rate in fitting if rate & (rate - 1) == 0]
    return next(iter(powers or fitting), max(1, round(image[0] / size[0])))
