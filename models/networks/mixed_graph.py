"""Mixed operators between feature maps, as data: what a relaxed latency sums and a supernet computes. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from models.spec.operators import OperatorSpec


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
