"""The supernet of a graph of every sort, against the fixed networks of its choices."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from models.networks.graph_plan import GraphChoices, graph_plan
from models.networks.module import build_network
from models.networks.structure import Edge, LatencyGraph, Node, NodeOperator, OperatorMatrix
from models.spec.errors import InvalidSpecError
from models.spec.kinds import AttributeValue
from models.spec.operators import OperatorSpec
from models.supernets.base import Mixture
from models.supernets.dag import DagSupernet
from models.testing.supernets import disturb

IMAGE = (32, 48)
PAIRS = tuple(combinations(range(3), 2))
ROWS = {"alpha": (2, 2, 2), "beta": (3, 3), "gamma": (2,)}


def spec(kind: str, channels: tuple[int, int], at: int, stride: int = 1, **attributes: AttributeValue) -> OperatorSpec:
    height, width = (side // at for side in IMAGE)
    shape = {"in_channels": channels[0], "out_channels": channels[1], "height": height, "width": width}
    return OperatorSpec.parse({"kind": kind, **shape, "stride": stride, "attributes": attributes})


def resizing(channels: int) -> OperatorMatrix:
    """From 1/4 to 1/2."""
    return ((spec("resize", (channels, channels), 4, to_height=IMAGE[0] // 2, to_width=IMAGE[1] // 2),),)


def pair(row: int, edge: int) -> tuple[int, tuple[int, ...]]:
    """The choices of that row under which the edge is one of the two."""
    return row, tuple(choice for choice, chosen in enumerate(PAIRS) if edge in chosen)


@pytest.fixture
def graph() -> LatencyGraph:
    """Down to 1/4 and up again; node 3 adds the best two of three maps, node 5 concatenates the best two, node 4 both."""

    def choice(kinds: tuple[str, ...], sources: tuple[int, ...], scale: int, stride: int = 1) -> tuple[OperatorMatrix, ...]:
        return tuple(tuple((spec(kind, (a, 8), scale, stride),) for a in sources) for kind in kinds)

    searched = tuple(((spec(kind, (8, 4), 2, 2), spec(kind, (8, 8), 2, 2)),) for kind in ("conv3x3", "zoomed_conv3x3_x2"))
    fixed = spec("conv_bn_relu", (8, 8), 4, kernel=5)
    return LatencyGraph(
        nodes=(
            Node((8,), scale=2),
            Node((4, 8), 0, scale=4),
            Node((8,), scale=4),
            Node((8,), scale=2, operators=(NodeOperator((spec("add", (8, 8), 2),)),)),
            Node((16,), join="concat", scale=2, operators=(NodeOperator((spec("concat", (16, 16), 2, sources="8+8"),)),)),
            Node((16,), join="concat", scale=2, operators=(NodeOperator((spec("concat", (16, 16), 2, sources="8+8"),)),)),
            Node(
                (16,),
                scale=2,
                operators=(NodeOperator((spec("add", (16, 16), 2),)), NodeOperator((spec("conv3x3", (16, 16), 2),))),
            ),
        ),
        edges=(
            Edge(0, 1, 0, None, searched),
            Edge(1, 2, 1, None, choice(("conv3x3", "conv3x3_x2"), (4, 8), 4)),
            Edge(0, 3, 2, pair(0, 0), choice(("conv3x3", "conv3x3_x2"), (8,), 2)),
            Edge(1, 3, None, pair(0, 1), choice(("conv3x3",), (4, 8), 4), (resizing(8) * 2,)),
            Edge(2, 3, None, pair(0, 2), (((fixed,),),), (resizing(8),)),
            Edge(0, 4, None, None, ()),
            Edge(3, 4, None, None, ()),
            Edge(0, 5, None, pair(1, 0), ()),
            Edge(2, 5, None, pair(1, 1), (), (resizing(8),)),
            Edge(3, 5, None, pair(1, 2), ()),
            Edge(4, 6, None, None, ()),
            Edge(5, 6, None, None, ()),
        ),
        outputs=None,
        fixed=(spec("conv_bn_relu", (3, 8), 1, 2),),
    )


HEAD = (spec("segmentation_head", (16, 5), 2), spec("upsample", (5, 5), 2, scale=2))


def mixture_of(choices: GraphChoices) -> Mixture:
    rows = {name: torch.eye(max(counts))[list(getattr(choices, name))] for name, counts in ROWS.items()}
    return Mixture.sampled(rows["alpha"], rows["beta"], rows["gamma"])


def test_certain_choices_give_the_network(graph: LatencyGraph) -> None:
    torch.manual_seed(0)
    supernet = disturb(DagSupernet({"network": graph}, {"network": HEAD})).eval()
    images = torch.randn(2, 3, *IMAGE)
    rng = np.random.default_rng(0)
    for _ in range(8):
        choices = GraphChoices(**{name: tuple(int(rng.integers(n)) for n in counts) for name, counts in ROWS.items()})
        network = build_network(graph_plan(graph, choices, HEAD)).eval()
        supernet.copy_to(network, "network")
        with torch.no_grad():
            found = supernet(images, mixture_of(choices), role="network").combined[""]
            torch.testing.assert_close(found, network(images), rtol=1e-4, atol=1e-4)


def test_images_of_other_sizes_are_resized_to_the_nodes_scale(graph: LatencyGraph) -> None:
    """Where 1/4 is no whole number: maps of 7×9 and 13×17 meet."""
    supernet = DagSupernet({"network": graph}, {"network": HEAD}).eval()
    mixture = Mixture((torch.full((3, 2), 0.5)).requires_grad_(), torch.full((2, 3), 1 / 3).requires_grad_(), (1,))
    scores = supernet(torch.randn(1, 3, 26, 34), mixture, role="network").combined[""]
    assert scores.shape == (1, 5, 26, 34)
    gradients = torch.autograd.grad(scores.square().sum(), (mixture.alpha, mixture.beta))
    assert all(bool((gradient != 0).all()) for gradient in gradients)


def test_maps_that_nothing_joins_are_refused(graph: LatencyGraph) -> None:
    nodes = tuple(replace(node, operators=()) if index == 3 else node for index, node in enumerate(graph.nodes))
    choices = GraphChoices((0, 0, 0), (0, 0), (0,))
    with pytest.raises(InvalidSpecError, match="2 maps meet at node 3, and nothing joins them"):
        graph_plan(replace(graph, nodes=nodes), choices, HEAD)


def test_a_resizing_before_the_end_of_an_edge_is_refused(graph: LatencyGraph) -> None:
    """The supernet resizes at nodes, so that operators behind the resizing would see another size."""
    late = replace(graph.edges[4], operators=(resizing(8),), after=(((spec("conv3x3", (8, 8), 2),),),))
    wrong = replace(graph, edges=(*graph.edges[:4], late, *graph.edges[5:]))
    with pytest.raises(InvalidSpecError, match="edge 4 resizes its map before its end"):
        DagSupernet({"network": wrong}, {"network": HEAD})


def test_choices_of_unequally_many_maps_cannot_be_concatenated(graph: LatencyGraph) -> None:
    alone = replace(graph.edges[7], selection=(1, (0,)))
    wrong = replace(graph, edges=(*graph.edges[:7], alone, *graph.edges[8:]))
    with pytest.raises(InvalidSpecError, match="node 5 concatenates 1 or 2 maps"):
        DagSupernet({"network": wrong}, {"network": HEAD})
