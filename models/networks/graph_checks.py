"""Whether a latency graph says what its space's parameters may choose, and can be charged exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from models.networks.structure import Edge, LatencyGraph, OperatorMatrix, Selection
from models.spec.errors import InvalidSpecError

ChoiceCounts = Mapping[str, Sequence[int]]
"""By granularity, how many choices each row has."""


def check_graph(graph: LatencyGraph, counts: ChoiceCounts) -> None:
    """Compares a graph with its parameters.

    Args:
        graph: of a search space.
        counts: choices of each row of "alpha", "beta" and "gamma".

    Raises:
        InvalidSpecError: an edge leads backwards; a row, choice or matrix does not fit; maps meet that cannot be joined; or
            one network could contain a node twice, so that its sum would not be the graph's.
    """
    for index, edge in enumerate(graph.edges):
        _check_edge(graph, index, edge, counts)
    for node in range(len(graph.nodes)):
        _check_node(graph, node, counts)
    _check_reach(graph)


def selection_row(graph: LatencyGraph, node: int) -> int | None:
    """The row of β that chooses among a node's edges; None where nothing does.

    Raises:
        InvalidSpecError: there are several.
    """
    rows = {selection[0] for edge in graph.entering(node) if (selection := graph.edges[edge].selection) is not None}
    if len(rows) > 1:
        named = " and ".join(map(str, sorted(rows)))
        raise InvalidSpecError(f"rows {named} of beta choose among the edges into node {node}; one row must")
    return rows.pop() if rows else None


def _check_edge(graph: LatencyGraph, index: int, edge: Edge, counts: ChoiceCounts) -> None:
    if not edge.source < edge.destination:
        raise InvalidSpecError(f"edge {index} leads from node {edge.source} back to node {edge.destination}")
    widths = tuple(_widths(graph, node, counts) for node in (edge.source, edge.destination))
    if edge.operators or edge.operator_row is not None:
        choices = _choices_of("alpha", edge.operator_row, counts)
        _check_matrices(f"edge {index} has", "operators", edge.operators, (choices, *widths))
    if edge.after:
        _check_matrices(f"edge {index} has", "operators after the chosen one", edge.after, (len(edge.after), *widths))
    _check_selection(f"edge {index}", edge.selection, counts)


def _check_matrices(what: str, of: str, matrices: Sequence[OperatorMatrix], expected: tuple[int, ...]) -> None:
    actual = {(len(matrices), len(matrix), len(row)) for matrix in matrices for row in matrix}
    if actual != {expected}:
        shapes = " and ".join("×".join(map(str, shape)) for shape in sorted(actual)) or "no"
        raise InvalidSpecError(f"{what} {shapes} {of}, its parameters {'×'.join(map(str, expected))} choices")


def _check_node(graph: LatencyGraph, index: int, counts: ChoiceCounts) -> None:
    node = graph.nodes[index]
    widths = _widths(graph, index, counts)
    if node.join == "concat" and widths > 1:
        raise InvalidSpecError(f"node {index} concatenates maps, and has {widths} widths; its channels are the sum of theirs")
    for own in node.operators:
        if len(own.by_width) != widths:
            raise InvalidSpecError(f"node {index} has {widths} widths, an operator of its own {len(own.by_width)}")
        _check_selection(f"an operator of node {index}", own.selection, counts)
    row = selection_row(graph, index)
    for choice in range(counts["beta"][row] if row is not None else 0):
        if not graph.taken(index, choice):
            raise InvalidSpecError(f"choice {choice} of row {row} of beta leaves node {index} without an edge")


def _widths(graph: LatencyGraph, index: int, counts: ChoiceCounts) -> int:
    node = graph.nodes[index]
    choices = _choices_of("gamma", node.width_row, counts)
    if len(node.channels) != choices:
        raise InvalidSpecError(f"node {index} has {len(node.channels)} widths, its row of gamma {choices} choices")
    return choices


def _check_selection(what: str, selection: Selection | None, counts: ChoiceCounts) -> None:
    if selection is None:
        return
    row, choices = selection
    known = _choices_of("beta", row, counts)
    if not choices or len(set(choices)) < len(choices):
        raise InvalidSpecError(
            f"{what} is selected by choices {choices} of row {row} of beta; each is named once, and one at least"
        )
    for choice in choices:
        if not 0 <= choice < known:
            raise InvalidSpecError(f"{what} is choice {choice} of row {row} of beta, which has {known}")


def _choices_of(granularity: str, row: int | None, counts: ChoiceCounts) -> int:
    if row is None:
        return 1
    if not 0 <= row < len(counts[granularity]):
        raise InvalidSpecError(f"{granularity} has no row {row}, but {len(counts[granularity])} rows")
    return counts[granularity][row]


def _check_reach(graph: LatencyGraph) -> None:
    """Reach is passed backwards as a product of β's rows, summed over consumers. That is a network's own sum where no node can
    be taken twice, and no row of β counts twice on one way.
    """
    upstream: list[frozenset[int]] = []  # per node: what its network contains because of it, itself included
    rows: list[frozenset[int]] = []  # rows of β that decide this
    beside: dict[int, int] = {}  # what is contained because of nodes that are always computed, with the first of those
    for node in range(len(graph.nodes)):
        passing = [edge for edge in graph.entering(node) if not graph.always(graph.edges[edge].source)]
        sources = {edge: graph.edges[edge].source for edge in passing}
        own = _rows_of(graph, node)
        for source in sources.values():
            if twice := own & rows[source]:
                raise InvalidSpecError(
                    f"row {min(twice)} of beta chooses at node {node} and before it: the two choices are one, not independent",
                    hint="Give each a row of its own, or mark the nodes between them as always computed.",
                )
        for first, second in combinations(passing, 2):
            shared = upstream[sources[first]] & upstream[sources[second]]
            if shared and _together(graph.edges[first].selection, graph.edges[second].selection):
                raise InvalidSpecError(
                    f"node {min(shared)} can be reached twice by one network, over edges {first} and {second} of node {node}",
                    hint="Mark it as always computed, so that it is charged once.",
                )
        if graph.always(node):
            for found in frozenset().union(*(upstream[source] for source in sources.values())):
                if beside.setdefault(found, node) != node:
                    raise InvalidSpecError(
                        f"node {found} can be reached twice by one network, through nodes {beside[found]} and {node}",
                        hint="Mark it as always computed, so that it is charged once.",
                    )
        costs = bool(graph.entering(node)) or bool(graph.nodes[node].operators)
        upstream.append(frozenset({node} if costs else ()).union(*(upstream[source] for source in sources.values())))
        rows.append(own.union(*(rows[source] for source in sources.values())))


def _rows_of(graph: LatencyGraph, node: int) -> frozenset[int]:
    def selections() -> Iterator[Selection | None]:
        yield from (graph.edges[edge].selection for edge in graph.entering(node))
        yield from (own.selection for own in graph.nodes[node].operators)

    return frozenset(selection[0] for selection in selections() if selection is not None)


def _together(first: Selection | None, second: Selection | None) -> bool:
    """Whether one choice may take both."""
    return first is None or second is None or bool(set(first[1]) & set(second[1]))
