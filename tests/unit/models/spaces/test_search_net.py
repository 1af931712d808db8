"""SEARCH-Net's space: the U of the paper, genotypes that can be moved, and the networks that it is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.networks.module import build_network, map_shapes, network_costs
from models.spaces.registry import create_space, read_architecture, space_of
from models.spaces.search_net.parameters import OPERATORS
from models.spaces.search_net.space import SearchNetSpace
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError
from models.testing.graph_reference import grouped, random_choices
from models.testing.plans import without_sizes
from nas_client.errors import ShapeError
from nas_client.runs.config import read_config
from nas_client.runs.processes import Processes
from nas_client.search.config import SearchConfig
from nas_client.search.setup import SearchData
from nas_client.train.config import TrainConfig
from nas_client.train.predictions import Predictor


def space_with(**parameters: Any) -> SearchNetSpace:
    space = create_space(SpaceSpec(name="search_net", input_size=(64, 64), classes=2, parameters=parameters))
    assert isinstance(space, SearchNetSpace)
    return space


def found(space: SearchNetSpace, seed: int = 0) -> ArchitectureSpec:
    return space.sample(np.random.default_rng(seed))


def test_the_cells_have_the_papers_channels_and_meet_at_equal_sizes() -> None:
    graph = space_with().latency_graph()
    cells = [node for node in graph.nodes if node.join == "concat" and len(graph.entering(graph.nodes.index(node))) == 4]
    assert [node.channels[0] for node in cells] == [64, 128, 256, 512, 512, 256, 128, 64]
    assert [node.scale for node in cells] == [2, 4, 8, 16, 16, 8, 4, 2]
    rows = space_with().parameter_shapes()
    assert set(rows["alpha"].values()) == {(14, len(OPERATORS))}
    assert [rows["beta"][f"c8_node{node}"] for node in (1, 2, 3)] == [(1, 3), (1, 6), (1, 10)]
    assert space_with().size() == (7**8 * 3 * 6 * 10) ** 8


def test_fewer_levels_take_sides_that_four_do_not() -> None:
    """As crops and as images to predict, too: these ask the space for the multiple."""
    space = space_with(base_channels=8, levels=2, nodes=2)
    assert (space.size_multiple, space_with().size_multiple) == (4, 16)
    network = build_network(space.plan(found(space)))
    predicted = Predictor(found(space), network.state_dict(), torch.device("cpu"))
    assert predicted(torch.zeros(1, 3, 12, 21)).shape == (1, 12, 21)
    assert list(predicted._networks) == [(12, 24)], "filled up to multiples of 4, not of 16"
    data = {"name": "synthetic_pets", "image_size": (64, 64), "train_images": 2, "val_images": 1}
    config = SearchConfig.parse({"data": data, "check_data": False})
    phases = {name: getattr(config, name).model_copy(update={"crop": (12, 20)}) for name in ("pretrain", "search", "second")}
    SearchData.open(config.model_copy(update=phases), space, Processes())
    with pytest.raises(ShapeError, match=r"pretrain\.crop: 12×20 is not divisible by 16"):
        SearchData.open(config.model_copy(update=phases), space_with(), Processes())


def test_found_cells_move_to_other_classes_and_sizes() -> None:
    """The genotype is the same network, but for the sizes and the last convolution."""
    space = space_with(base_channels=8, levels=2, nodes=2)
    here = found(space)
    there = read_architecture(here.model_copy(update={"classes": 32, "input_size": (96, 128)}).model_dump_json())
    assert there.genotype == here.genotype
    plans = [without_sizes(space_of(architecture).plan(architecture)) for architecture in (here, there)]
    assert plans[0][:-2] == plans[1][:-2]
    assert network_costs(space_of(there).plan(there)).parameters == network_costs(space.plan(here)).parameters + 30 * (8 + 1)


def test_cells_that_share_are_alike_and_lead_back_to_a_space_whose_cells_do_not() -> None:
    space = space_with(base_channels=8, sharing=1)
    shapes = space.parameter_shapes()
    assert list(shapes["alpha"]) == ["down", "up"]
    decoded = space.decode(grouped(shapes, random_choices(shapes, np.random.default_rng(1))))
    cells = decoded.genotype["cells"]
    assert cells[0] == cells[1] == cells[2] == cells[3] != cells[4] == cells[7]
    assert space_of(decoded).plan(decoded) == space.plan(decoded)


@pytest.mark.parametrize("name", ["unet", "unet_plus_plus", "fpn"])
def test_a_reference_is_a_network_of_the_same_widths(name: str) -> None:
    space = space_with(base_channels=8)
    architecture = read_architecture(space.references()[name].model_dump_json())
    plan = space_of(architecture).plan(architecture)
    assert {8, 16, 32, 64} <= {shape[1] for shape in map_shapes(plan).values()}
    network = build_network(plan).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_the_references_are_what_their_papers_draw() -> None:
    """UNet++ of four levels has six nested maps, each joining all before it; FPN adds from above; UNet has three skips."""
    space = space_with(base_channels=8)
    steps = {name: [step.operator for step in space.plan(a).steps] for name, a in space.references().items()}
    kinds = {name: [operator.kind for operator in operators] for name, operators in steps.items()}
    assert {name: of.count("conv3x3_x2") for name, of in kinds.items()} == {"unet": 7, "unet_plus_plus": 10, "fpn": 4}
    assert {name: of.count("concat") for name, of in kinds.items()} == {"unet": 3, "unet_plus_plus": 6, "fpn": 0}
    last = [operator for operator in steps["unet_plus_plus"] if operator.kind == "concat"][-1]
    assert last.source_channels == (8, 8, 8, 16)
    assert kinds["fpn"].count("add") == 4  # three times from above, and all at the end


def test_a_supernets_normalisation_scales_nothing_and_its_skips_are_the_identity() -> None:
    supernet = space_with(base_channels=4, levels=1, nodes=2).supernet()
    choices = [module for module in supernet.modules() if getattr(module, "kind", None) in ("sep_conv", "mbconv", "dil_conv")]
    norms = [layer for choice in choices for layer in choice.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.affine for norm in norms)
    skips = [module for module in supernet.modules() if getattr(module, "kind", None) == "skip_connect"]
    assert sum(isinstance(skip.operator, nn.Identity) for skip in skips) == 6  # all but four of stride 2, and a 3rd inner edge


def test_its_search_begins_as_the_paper_says() -> None:
    defaults = SearchNetSpace.search_defaults
    config = read_config(SearchConfig, None, [], base=defaults.model_dump(exclude={"training"}))
    assert (config.loss, config.image_scale, config.pretrain.epochs, config.search.epochs) == ("dice", 1.0, 0, 300)
    assert (config.search.optimizer.method, config.search.optimizer.lr) == ("adam", 1e-3)
    training = read_config(TrainConfig, None, [], base=defaults.training.model_dump())
    assert (training.losses.kind, training.epochs, training.optimizer.method, training.optimizer.lr) == (
        "dice",
        200,
        "sgd",
        1e-3,
    )


CELL = [{"inputs": [0, 1], "operators": ["skip_connect", "skip_connect"]}] * 2


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        ({}, "exactly one of the two"),
        ({"cells": [CELL, CELL], "reference": "unet"}, "exactly one of the two"),
        ({"cells": [CELL]}, "1 cells; 1 levels have 2"),
        ({"cells": [CELL, CELL[:1]]}, r"cells\.1: 1 nodes; a cell has 2"),
        ({"cells": [CELL, [CELL[0], {**CELL[0], "inputs": [1, 1]}]]}, r"cells\.1\.1\.inputs: \[1, 1\] are not two of 0 to 2"),
        ({"cells": [CELL, [CELL[0], {**CELL[0], "operators": ["none", "skip_connect"]}]]}, "operator in genotype"),
        ({"reference": "segnet"}, "reference network 'segnet'"),
    ],
)
def test_a_genotype_that_is_none_is_refused(genotype: dict[str, Any], message: str) -> None:
    space = space_with(base_channels=4, levels=1, nodes=2)
    architecture = found(space).model_copy(update={"genotype": genotype})
    with pytest.raises(InvalidSpecError, match=message):
        space.plan(architecture)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"base_channels": 6}, "base_channels 6 is not divisible by nodes 4"),
        ({"operators": (3, 1)}, "numbers from 1 to 7 that ascend"),
        ({"operators": (0, 1)}, "numbers from 1 to 7 that ascend"),
        ({"levels": 5}, "levels"),
    ],
)
def test_a_parameter_out_of_range_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        space_with(**parameters)


def test_a_network_of_other_parameters_is_refused() -> None:
    architecture = found(space_with(base_channels=8))
    with pytest.raises(
        InvalidSpecError, match=r"parameters\.base_channels: the architecture's is 8, this search space's is 16"
    ):
        space_with(base_channels=16).plan(architecture)
