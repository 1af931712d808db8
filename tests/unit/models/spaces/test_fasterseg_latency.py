"""FasterSeg's parameters and latency graph against the recursion of docs/latency.md."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from models.networks.network_count import count_networks
from models.spaces.fasterseg.space import FasterSegSpace
from models.spec.architectures import SpaceSpec
from models.testing.graph_reference import Probabilities, expected_ms, made_up_ms
from tests.support.fasterseg_recursion import Recursion


def test_shapes_of_sixteen_layers_are_those_of_the_published_checkpoints() -> None:
    shapes = FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=(128, 256))).parameter_shapes()
    assert {name: list(groups.items()) for name, groups in shapes.items()} == {
        "alpha": [("8", (16, 5)), ("16", (15, 5)), ("32", (14, 5))],
        "beta": [("16", (14, 2)), ("32", (13, 2))],
        "gamma": [("8", (15, 5)), ("16", (15, 5)), ("32", (14, 5))],
    }


@pytest.mark.parametrize("layers", [3, 4, 7])
@pytest.mark.parametrize("branches", [(0,), (1,), (2,), (0, 1, 2)])
def test_the_graph_says_what_the_recursion_says(layers: int, branches: tuple[int, ...]) -> None:
    """Rows in their order, edges, widths, stem: a wrong index anywhere changes a sum of different made-up times."""
    space = FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=(64, 96), parameters={"layers": layers}))
    rng = np.random.default_rng(layers)
    grouped = {
        name: {group: rng.dirichlet(np.ones(choices), size=rows).tolist() for group, (rows, choices) in groups.items()}
        for name, groups in space.parameter_shapes().items()
    }
    recursion = Recursion(made_up_ms, (64, 96), layers, 12, 8, 8, (4, 6, 8, 10, 12), **grouped)
    graph = space.latency_graph()
    assert graph.outputs is not None
    chosen = type(graph)(graph.nodes, graph.edges, tuple(graph.outputs[j] for j in branches), graph.fixed)
    flat = Probabilities(**{name: [row for rows in groups.values() for row in rows] for name, groups in grouped.items()})
    assert expected_ms(chosen, flat, made_up_ms) == pytest.approx(sum(recursion.branch_ms(j) for j in branches), rel=1e-12)


def test_the_graph_grows_linearly_with_the_layers() -> None:
    sizes = {
        layers: len(
            FasterSegSpace.from_spec(
                SpaceSpec(name="fasterseg", input_size=(32, 32), parameters={"layers": layers, "widths": (4, 12)})
            )
            .latency_graph()
            .edges
        )
        for layers in (16, 17, 18)
    }
    assert sizes == {16: 74, 17: 79, 18: 84}


def test_paths_of_sixteen_layers_are_those_of_the_paper() -> None:
    """Two downsamplings among 15 layers. The paper multiplies the paths of two branches, to 1695; both read one β, and a branch
    ending at 32 that downsamples after the one ending at 16 goes there with it.
    """
    space = FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=(32, 32), parameters={"widths": (4, 12)}))
    graph = space.latency_graph()
    one = {"alpha": [1] * 45, "beta": [2] * 27, "gamma": [1] * 44}
    outputs = graph.outputs or ()
    assert [count_networks(graph, one, [end]) for end in outputs] == [1, 15, 105]
    assert [count_networks(graph, one, ends) for ends in combinations(outputs, 2)] == [15, 105, 665]
    alone = count_networks(graph, {"alpha": [5] * 45, "beta": [2] * 27, "gamma": [2] * 44}, outputs[:1])
    assert alone == 5**16 * 2**15
