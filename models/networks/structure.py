"""Networks as data, without torch: the fixed network of an architecture, and the mixed operators of a supernet.

Spaces write both. Torch modules, sums of table entries, costs, the relaxed latency and the supernet are all read off the same
data, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    """

    steps: tuple[OperatorStep, ...]
    branch_ends: tuple[str, ...] = ()

    def operators(self) -> Iterator[OperatorSpec]:
        """The operator of each charged step, in order, repeats included: the terms of an estimate."""
        return (step.operator for step in self.steps if step.charged)


@dataclass(frozen=True)
class Node:
    """A feature map between edges.

    Attributes:
        channels: its possible channel counts, ascending; one where the width is fixed.
        width_row: row of γ that chooses among them; None where the width is fixed.
    """

    channels: tuple[int, ...]
    width_row: int | None = None


@dataclass(frozen=True)
class Edge:
    """One mixed operator from a node to another.

    Attributes:
        source, destination: indices into the graph's nodes.
        operator_row: row of α that chooses the operator.
        selection: (row, choice) of β under which the destination takes this edge; None where it always does.
        operators: `operators[k][a][b]`: choice k at the a-th width of the source and the b-th of the destination.
    """

    source: int
    destination: int
    operator_row: int
    selection: tuple[int, int] | None
    operators: tuple[tuple[tuple[OperatorSpec, ...], ...], ...]


@dataclass(frozen=True)
class LatencyGraph:
    """The mixed operators whose expected latency is the loss.

    Attributes:
        nodes, edges: topologically ordered: an edge's source comes before its destination.
        outputs: nodes at which a branch ends; reach is 1 there and is passed backwards through β, summed over branches.
            None where every edge is always used (DAG cells): reach is 1 everywhere.
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
