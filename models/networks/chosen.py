"""The part of a latency graph that one choice of every row leaves: its nodes, edges, rows and operators."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from models.networks.graph_plan import GraphChoices
from models.networks.structure import LatencyGraph
from models.spec.operators import OperatorSpec


@dataclass(frozen=True)
class ChosenPart:
    """Nodes that are computed, and the edges that they take, in the graph's order."""

    nodes: frozenset[int]
    edges: tuple[int, ...]


def chosen_part(graph: LatencyGraph, choices: GraphChoices, outputs: Collection[int]) -> ChosenPart:
    """What leads to those outputs, and whatever is always computed. What several outputs share is there once.

    Args:
        graph: of a search space.
        choices: of its rows.
        outputs: nodes at which the network ends; empty for a graph without outputs.
    """
    nodes = set(outputs) | {node for node in range(len(graph.nodes)) if graph.always(node)}
    taken = []
    for index in sorted(range(len(graph.edges)), key=lambda index: -graph.edges[index].destination):
        edge = graph.edges[index]
        if edge.destination in nodes and choices.selects(edge.selection):
            nodes.add(edge.source)
            taken.append(index)
    return ChosenPart(frozenset(nodes), tuple(sorted(taken)))


def used_rows(graph: LatencyGraph, part: ChosenPart) -> dict[str, tuple[int, ...]]:
    """By granularity, the rows that the part looks at, ascending."""
    found: dict[str, set[int]] = {"alpha": set(), "beta": set(), "gamma": set()}
    for index in part.edges:
        if (row := graph.edges[index].operator_row) is not None:
            found["alpha"].add(row)
    for node in part.nodes:
        selections = [graph.edges[index].selection for index in graph.entering(node)]
        selections += [own.selection for own in graph.nodes[node].operators]
        found["beta"].update(selection[0] for selection in selections if selection is not None)
        if (row := graph.nodes[node].width_row) is not None:
            found["gamma"].add(row)
    return {granularity: tuple(sorted(rows)) for granularity, rows in found.items()}


def chosen_operators(graph: LatencyGraph, choices: GraphChoices, part: ChosenPart) -> Iterator[OperatorSpec]:
    """The part's operators, repeats included, the fixed ones once."""
    yield from graph.fixed
    for index in part.edges:
        yield from choices.operators(graph, graph.edges[index])
    for node in sorted(part.nodes):
        for own in graph.nodes[node].operators:
            if choices.selects(own.selection):
                yield own.by_width[choices.width(graph, node)]
