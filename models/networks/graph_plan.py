"""The fixed network of a latency graph whose choices are made: the plan of spaces whose networks are their graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.networks.graph_checks import selection_row
from models.networks.structure import INPUT, Edge, LatencyGraph, NetworkPlan, OperatorMatrix, OperatorStep, Selection
from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec


@dataclass(frozen=True)
class GraphChoices:
    """One choice of every row of α, β and γ."""

    alpha: tuple[int, ...] = ()
    beta: tuple[int, ...] = ()
    gamma: tuple[int, ...] = ()

    def selects(self, selection: Selection | None) -> bool:
        """Whether what is selected so is part of the network."""
        return selection is None or self.beta[selection[0]] in selection[1]

    def width(self, graph: LatencyGraph, node: int) -> int:
        """Index of the width that the node has."""
        row = graph.nodes[node].width_row
        return 0 if row is None else self.gamma[row]

    def operators(self, graph: LatencyGraph, edge: Edge) -> tuple[OperatorSpec, ...]:
        """What the edge applies, in order; nothing where it passes its map on as it is."""
        source, destination = self.width(graph, edge.source), self.width(graph, edge.destination)
        chosen: tuple[OperatorMatrix, ...] = edge.operators
        if edge.operator_row is not None:
            chosen = (edge.operators[self.alpha[edge.operator_row]],)
        return tuple(matrix[source][destination] for matrix in (*chosen, *edge.after))


def stem_step(index: int) -> str:
    """Name of the step of a fixed operator before the graph."""
    return f"stem{index}"


def edge_step(edge: int, place: int = 0) -> str:
    """Name of the step of an edge's operator; `place`: of those after the first."""
    return f"edge{edge}_{place}" if place else f"edge{edge}"


def node_step(node: int, place: int = 0) -> str:
    """Name of the step of a node's own operator; `place`: of those after the first."""
    return f"node{node}_{place}" if place else f"node{node}"


def head_step(index: int) -> str:
    """Name of the step of an operator after the graph."""
    return f"head{index}"


def graph_plan(
    graph: LatencyGraph, choices: GraphChoices, head: Sequence[OperatorSpec], *, output: int | None = None
) -> NetworkPlan:
    """The network that the choices leave of a graph, between its fixed operators and a head.

    Args:
        graph: its first node takes the map of the fixed operators, or the image where there are none.
        choices: of its rows.
        head: operators after the output, in order.
        output: the node that the head takes; the last where None. Nodes that it does not need are left out.

    Raises:
        InvalidSpecError: several maps meet at a node that has no operator to join them.
    """
    steps: list[OperatorStep] = []
    depth: dict[str, int] = {}  # of the graph's own steps, which are the cells of a drawing

    def follow(name: str, operator: OperatorSpec, *sources: str, cell: int | None = None) -> str:
        steps.append(OperatorStep(name, operator, sources, cell))
        return name

    def within(name: str, operator: OperatorSpec, *sources: str) -> str:
        depth[name] = 1 + max(depth.get(source, -1) for source in sources)
        return follow(name, operator, *sources, cell=depth[name])

    source = INPUT
    for index, operator in enumerate(graph.fixed):
        source = follow(stem_step(index), operator, source)
    maps = {0: source}
    end = len(graph.nodes) - 1 if output is None else output
    for node in sorted(_needed(graph, choices, end) - {0}):
        row = selection_row(graph, node)
        entering = []
        for index in graph.taken(node, None if row is None else choices.beta[row]):
            name = maps[graph.edges[index].source]
            for place, operator in enumerate(choices.operators(graph, graph.edges[index])):
                name = within(edge_step(index, place), operator, name)
            entering.append(name)
        width = choices.width(graph, node)
        own = [o.by_width[width] for o in graph.nodes[node].operators if choices.selects(o.selection)]
        for place, operator in enumerate(own):
            entering = [within(node_step(node, place), operator, *entering)]
        if len(entering) != 1:
            raise InvalidSpecError(
                f"{len(entering)} maps meet at node {node}, and nothing joins them",
                hint="Give the node an operator of kind 'add' or 'concat' under these choices.",
            )
        maps[node] = entering[0]
    source = maps[end]
    for index, operator in enumerate(head):
        source = follow(head_step(index), operator, source)
    return NetworkPlan(tuple(steps))


def _needed(graph: LatencyGraph, choices: GraphChoices, end: int) -> set[int]:
    """Nodes that lead to one, that one included."""
    needed = {end}
    for edge in sorted(graph.edges, key=lambda edge: -edge.destination):
        if edge.destination in needed and choices.selects(edge.selection):
            needed.add(edge.source)
    return needed
