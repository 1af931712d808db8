"""From a graph and a table to tensors."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import torch

from models.spaces.base import Edge, LatencyGraph, Node, NodeOperator, SearchSpace
from models.spec.errors import InvalidSpecError, MissingEntryError
from models.spec.operators import OperatorSpec
from models.testing.graph_reference import made_up_ms
from nas_client.latency.coefficients import gather
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.latency.relaxed import RelaxedLatency


def test_each_distinct_operator_is_looked_up_once(small_space: SearchSpace) -> None:
    asked: Counter[str] = Counter()

    def lookup(operator: OperatorSpec) -> float:
        asked[operator.key()] += 1
        return made_up_ms(operator)

    graph = small_space.latency_graph()
    gather(graph, small_space.parameter_shapes(), lookup)
    assert set(asked) == {operator.key() for operator in graph.operators()}
    assert set(asked.values()) == {1}


def test_a_missing_entry_is_the_tables_own_error(small_space: SearchSpace) -> None:
    def lookup(operator: OperatorSpec) -> float:
        if operator.kind == "skip" and operator.stride == 2:
            raise MissingEntryError(operator.label())
        return 1.0

    with pytest.raises(MissingEntryError, match=r"skip .* /2"):
        gather(small_space.latency_graph(), small_space.parameter_shapes(), lookup)


def test_branches_add_up(small_space: SearchSpace) -> None:
    """The supernet's latency sums the branches asked for; each alone has its own stem."""
    graph, shapes = small_space.latency_graph(), small_space.parameter_shapes()
    parameters = ArchitectureParameters.zeros(shapes, dtype=torch.float64)
    assert graph.outputs is not None
    alone = [
        RelaxedLatency(gather(dataclasses.replace(graph, outputs=(output,)), shapes, made_up_ms), dtype=torch.float64)(
            parameters
        ).item()
        for output in graph.outputs
    ]
    together = RelaxedLatency(gather(graph, shapes, made_up_ms), dtype=torch.float64)(parameters).item()
    assert len(alone) == 3
    assert sum(alone) == pytest.approx(together, rel=1e-12)


def skip(a: int, b: int) -> OperatorSpec:
    return OperatorSpec(kind="skip", in_channels=a, out_channels=b, height=8, width=8)


GOOD = Edge(0, 1, 0, (0, (0, 1)), (((skip(2, 3), skip(2, 4)),),))
NODES = (Node((2,)), Node((3, 4), 0))
SHAPES = {"alpha": {"a": (1, 1)}, "beta": {"b": (1, 2)}, "gamma": {"g": (1, 2)}}


def test_the_edge_that_the_next_test_spoils_is_good() -> None:
    assert gather(LatencyGraph(NODES, (GOOD,), (1,)), SHAPES, made_up_ms).cost_ms.shape == (1, 1, 2, 2)


@pytest.mark.parametrize(
    ("nodes", "edge", "message"),
    [
        (NODES, dataclasses.replace(GOOD, source=1, destination=1), "edge 0 leads from node 1 back to node 1"),
        (NODES, dataclasses.replace(GOOD, operator_row=1), "alpha has no row 1, but 1 rows"),
        (NODES, dataclasses.replace(GOOD, selection=(0, (0, 2))), "edge 0 is choice 2 of row 0 of beta, which has 2"),
        (NODES, dataclasses.replace(GOOD, selection=(4, (0,))), "beta has no row 4"),
        (NODES, dataclasses.replace(GOOD, operators=GOOD.operators * 2), "edge 0 has 2×1×2 operators, .* 1×1×2 choices"),
        (NODES, dataclasses.replace(GOOD, operators=()), "edge 0 has no operators, .* 1×1×2 choices"),
        (NODES, dataclasses.replace(GOOD, selection=(0, (1,))), "choice 0 of row 0 of beta leaves node 1 without an edge"),
        (NODES, dataclasses.replace(GOOD, selection=(0, (1, 1))), "edge 0 is selected by choices \\(1, 1\\) of row 0"),
        (NODES, dataclasses.replace(GOOD, after=(((skip(4, 4),),),)), "edge 0 has 1×1×1 operators after .* 1×1×2 choices"),
        ((NODES[0], dataclasses.replace(NODES[1], join="concat")), GOOD, "node 1 concatenates maps, and has 2 widths"),
        (
            (NODES[0], dataclasses.replace(NODES[1], operators=(NodeOperator((skip(3, 3),)),))),
            GOOD,
            "node 1 has 2 widths, an op",
        ),
        ((NODES[0], Node((3,), 0)), GOOD, "node 1 has 1 widths, its row of gamma 2 choices"),
        ((NODES[0], Node((3, 4))), GOOD, "node 1 has 2 widths, its row of gamma 1 choices"),
        ((NODES[0], Node((3, 4), 1)), GOOD, "gamma has no row 1"),
    ],
)
def test_a_graph_that_contradicts_the_shapes_is_refused(nodes: tuple[Node, ...], edge: Edge, message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        gather(LatencyGraph(nodes, (edge,), (1,)), SHAPES, made_up_ms)


def diamond(*, always: bool = False, rows: tuple[int, int] = (0, 1)) -> LatencyGraph:
    """Node 1 leads to node 4 over node 2 and over node 3; β chooses whether nodes 2 and 3 take it or node 0."""

    def edge(source: int, destination: int, selection: tuple[int, tuple[int, ...]] | None) -> Edge:
        return Edge(source, destination, None, selection, (((skip(4, 4),),),))

    nodes = [Node((4,), always=always and index == 1) for index in range(5)]
    first, second = rows
    entering = [edge(0, 1, None), edge(0, 2, (first, (0,))), edge(1, 2, (first, (1,)))]
    entering += [edge(0, 3, (second, (0,))), edge(1, 3, (second, (1,))), edge(2, 4, None), edge(3, 4, None)]
    return LatencyGraph(tuple(nodes), tuple(entering), (4,))


def test_a_node_that_one_network_may_contain_twice_must_always_be_computed() -> None:
    """Two consumers share node 1: a sum over edges would charge it twice."""
    shapes = {"alpha": {}, "beta": {"b": (2, 2)}, "gamma": {}}
    with pytest.raises(InvalidSpecError, match="node 1 can be reached twice by one network, over edges 5 and 6 of node 4"):
        gather(diamond(), shapes, made_up_ms)
    certain = ArchitectureParameters.one_hot(shapes, {"beta": torch.tensor([1, 1])}, dtype=torch.float64)
    found = RelaxedLatency(gather(diamond(always=True), shapes, lambda _: 1.0), dtype=torch.float64)(certain)
    assert found.item() == pytest.approx(5)


def test_a_row_of_beta_counts_once_on_one_way() -> None:
    graph = diamond(always=True)
    along = dataclasses.replace(graph.edges[5], selection=(0, (0, 1)))
    graph = dataclasses.replace(graph, edges=(*graph.edges[:5], along, *graph.edges[6:]))
    with pytest.raises(InvalidSpecError, match="row 0 of beta chooses at node 4 and before it"):
        gather(graph, {"alpha": {}, "beta": {"b": (2, 2)}, "gamma": {}}, made_up_ms)
