"""From a graph and a table to tensors."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import torch

from models.spaces.base import Edge, LatencyGraph, Node, SearchSpace
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
    of_edges = {o.key() for edge in graph.edges for by_in in edge.operators for by_out in by_in for o in by_out}
    assert set(asked) == of_edges | {operator.key() for operator in graph.fixed}
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


GOOD = Edge(0, 1, 0, (0, 1), (((skip(2, 3), skip(2, 4)),),))
NODES = (Node((2,)), Node((3, 4), 0))
SHAPES = {"alpha": {"a": (1, 1)}, "beta": {"b": (1, 2)}, "gamma": {"g": (1, 2)}}


def test_the_edge_that_the_next_test_spoils_is_good() -> None:
    assert gather(LatencyGraph(NODES, (GOOD,), (1,)), SHAPES, made_up_ms).cost_ms.shape == (1, 1, 2, 2)


@pytest.mark.parametrize(
    ("nodes", "edge", "message"),
    [
        (NODES, dataclasses.replace(GOOD, source=1, destination=1), "edge 0 leads from node 1 back to node 1"),
        (NODES, dataclasses.replace(GOOD, operator_row=1), "alpha has no row 1, but 1 rows"),
        (NODES, dataclasses.replace(GOOD, selection=(0, 2)), "edge 0 is choice 2 of row 0 of beta, which has 2"),
        (NODES, dataclasses.replace(GOOD, selection=(4, 0)), "beta has no row 4"),
        (NODES, dataclasses.replace(GOOD, operators=GOOD.operators * 2), "edge 0 has 2×1×2 operators, .* 1×1×2 choices"),
        (NODES, dataclasses.replace(GOOD, operators=()), "edge 0 has no operators, .* 1×1×2 choices"),
        ((NODES[0], Node((3,), 0)), GOOD, "node 1 has 1 widths, its row of gamma 2 choices"),
        ((NODES[0], Node((3, 4))), GOOD, "node 1 has 2 widths, its row of gamma 1 choices"),
        ((NODES[0], Node((3, 4), 1)), GOOD, "gamma has no row 1"),
    ],
)
def test_a_graph_that_contradicts_the_shapes_is_refused(nodes: tuple[Node, ...], edge: Edge, message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        gather(LatencyGraph(nodes, (edge,), (1,)), SHAPES, made_up_ms)
