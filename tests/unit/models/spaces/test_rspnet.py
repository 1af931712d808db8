"""RSPNet's space: the published ratio of parameters, what is refused, and weights of stacked cells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.networks.module import build_network, network_costs
from models.spaces.registry import create_space
from models.spaces.rspnet.space import RspNetSpace
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError, WorkloadTooLargeError
from models.testing.graph_reference import expected_ms, made_up_ms, random_probabilities
from models.testing.supernets import certain, disturb, mixture_of
from nas_client.latency.coefficients import gather
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.latency.relaxed import RelaxedLatency

PUBLISHED = 68.67 / 17.20


def space(**parameters: Any) -> RspNetSpace:
    made = create_space(SpaceSpec(name="rspnet", input_size=(64, 64), parameters=parameters))
    assert isinstance(made, RspNetSpace)
    return made


SMALL = {"layers": 1, "base_width": 4, "stem_width": 4}


@pytest.mark.parametrize("cell", [("conv3x3", "depthwise3x3", "identity"), ("conv3x3", "depthwise3x3", "depthwise3x3")])
def test_half_channel_stages_quarter_the_parameters(cell: tuple[str, ...]) -> None:
    """Cells whose full size is near the published 68.67 M, at 1024×2048, N = 4; counted on the meta device."""
    parameters = {}
    for part in (1, 2):
        full = create_space(SpaceSpec(name="rspnet", input_size=(1024, 2048), parameters={"part": part}))
        sampled = full.sample(np.random.default_rng(0))
        architecture = sampled.model_copy(update={"genotype": {**sampled.genotype, "cell": cell}})
        parameters[part] = network_costs(full.plan(architecture)).parameters
    assert parameters[1] == pytest.approx(68.67e6, rel=0.1)
    assert parameters[1] / parameters[2] == pytest.approx(PUBLISHED, rel=0.02)


def test_a_network_has_the_two_chosen_paths_and_no_other() -> None:
    small = space(**SMALL, stack=2)
    architecture = small.sample(np.random.default_rng(0))
    kinds = [operator.kind for operator in small.architecture_operators(architecture)]
    into_layers, from_stem = 2 * 4, 4
    assert kinds.count("path") == into_layers + from_stem
    assert sum(kind in ("conv3x3", "conv5x5", "depthwise3x3", "dilated3x3", "identity") for kind in kinds) == 3 * 4 * 2


def test_the_ocr_head_takes_the_place_of_the_two_convolutions() -> None:
    plain, ocr = (space(**SMALL, part=2, ocr=chosen) for chosen in (0, 1))
    heads = [
        [operator.kind for operator in one.architecture_operators(one.sample(np.random.default_rng(0)))] for one in (plain, ocr)
    ]
    assert heads[0][-3:] == ["partial_conv1x1", "classifier", "upsample"]
    assert heads[1] == [*heads[0][:-3], "object_context_head", "upsample"]
    choices = certain(ocr.parameter_shapes(), np.random.default_rng(0))
    network, supernet = build_network(ocr.plan(ocr.decode(choices))).eval(), disturb(ocr.supernet()).eval()
    ocr.copy_weights(supernet, "network", ocr.decode(choices), network)
    with torch.no_grad():
        assert network(torch.randn(1, 3, 64, 64)).shape == (1, 19, 64, 64)
    for name, weight in network.steps["head0"].state_dict().items():
        assert torch.equal(weight, supernet.state_dict()[f"heads.network.all.0.{name}"])


def test_stacked_cells_begin_with_the_searched_cells_weights() -> None:
    """Certain choices: the supernet, with one cell in each place, is the network of one copy."""
    torch.manual_seed(0)
    alone, stacked = space(**SMALL, stack=1), space(**SMALL, stack=2)
    choices = certain(stacked.parameter_shapes(), np.random.default_rng(1), without=4)
    supernet = disturb(stacked.supernet()).eval()
    images = torch.randn(1, 3, 64, 64)
    networks = {}
    for one in (alone, stacked):
        architecture = one.decode(choices)
        networks[one] = build_network(one.plan(architecture)).eval()
        one.copy_weights(supernet, "network", architecture, networks[one])
    with torch.no_grad():
        found = supernet(images, mixture_of(choices), role="network").combined[""]
        torch.testing.assert_close(found, networks[alone](images), rtol=1e-4, atol=1e-4)

    def kernels(one: RspNetSpace) -> list[torch.Tensor]:
        """Those of the cells at 1/4, told by their shape."""
        state = networks[one].state_dict()
        return [state[name] for name in state if name.startswith("steps.edge") and state[name].shape[:1] == (4,)]

    once, twice = kernels(alone), kernels(stacked)
    assert len(twice) > len(once)
    assert all(any(torch.equal(kernel, mine) for mine in once) for kernel in twice if kernel.shape in {k.shape for k in once})


def test_the_relaxed_latency_has_the_gradients_of_finite_differences() -> None:
    """α is shared by all cells, β chooses pairs; the value is that of the sum written out node by node."""
    small = space(**SMALL, scales=2, part=2)
    shapes = small.parameter_shapes()
    latency = RelaxedLatency(gather(small.latency_graph(), shapes, made_up_ms), dtype=torch.float64)
    drawn = random_probabilities(shapes, np.random.default_rng(0))
    logits = [torch.tensor(rows, dtype=torch.float64).log().requires_grad_() for rows in (drawn.alpha, drawn.beta)]
    zeros = ArchitectureParameters.zeros(shapes, dtype=torch.float64)

    def of(alpha: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = latency(replace(zeros, alpha=alpha, beta=beta))
        return found

    assert of(*logits).item() == pytest.approx(expected_ms(small.latency_graph(), drawn, made_up_ms), rel=1e-12)
    assert torch.autograd.gradcheck(of, logits)


def test_sizes_beyond_the_limits_of_a_workload_are_refused_at_once() -> None:
    with pytest.raises(WorkloadTooLargeError, match=r"memory is about 6\.04e\+09 bytes"):
        create_space(SpaceSpec(name="rspnet", input_size=(1024, 2048), batch=8))


@pytest.mark.parametrize(("scales", "side"), [(2, 8), (3, 16), (4, 32)])
def test_the_coarsest_scale_decides_which_sizes_fit(scales: int, side: int) -> None:
    fields: Any = {"name": "rspnet", "parameters": {**SMALL, "scales": scales}}
    assert create_space(SpaceSpec(input_size=(3 * side, side), **fields)).size_multiple == side
    with pytest.raises(InvalidSpecError, match=f"height {side + 4} is not divisible by {side}") as refused:
        create_space(SpaceSpec(input_size=(side + 4, side), **fields))
    assert refused.value.hint == f"The nearest that fit: {side}, {2 * side}."


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"part": 3}, "part"),
        ({"part": 2, "base_width": 7}, "base_width 7 is not divisible by part 2"),
        ({"scales": 1}, "scales"),
        ({"depth": 3}, "'depth'"),
    ],
)
def test_parameters_are_refused_by_name(parameters: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        space(**parameters)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": ["conv3x3", "conv7x7", "identity"]}, "conv7x7"),
        ({"paths": {"4": [["4", "8"]]}}, "genotype.paths: scales 4"),
        ({"pair": ["8", "4"]}, "genotype.paths.4.0: 8 and 4 is no pair"),
        ({"pair": ["4", "64"]}, "genotype.paths.4.0: 4 and 64 is no pair"),
    ],
)
def test_what_is_no_genotype_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    small = space(**SMALL)
    good = small.sample(np.random.default_rng(0))
    genotype = {**good.genotype, **changes}
    if "pair" in genotype:
        genotype["paths"] = {**genotype["paths"], "4": [genotype.pop("pair")]}
    with pytest.raises(InvalidSpecError, match=message):
        small.plan(ArchitectureSpec.parse(good.model_dump() | {"genotype": genotype}))
