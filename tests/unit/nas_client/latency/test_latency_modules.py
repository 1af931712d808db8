"""The relaxed and the decoupled latency as modules: gradients, dtypes, devices, wrong parameters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.spaces.base import Edge, LatencyGraph, Node, NodeOperator, ParameterShapes
from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.operators import OperatorSpec
from models.testing.graph_reference import made_up_ms
from nas_client.errors import ParameterError
from nas_client.latency.base import LatencyModule
from nas_client.latency.coefficients import Coefficients, gather
from nas_client.latency.decoupled import DecoupledLatency
from nas_client.latency.parameters import GRANULARITIES, ArchitectureParameters
from nas_client.latency.relaxation import Gumbel
from nas_client.latency.relaxed import RelaxedLatency
from nas_client.latency.sensitivity import PUBLISHED_WEIGHTS
from tests.support.toy_space import ToySpace

MODULES = [RelaxedLatency, DecoupledLatency]
TERMS = ["operator_ms", "downsample_ms", "expansion_ms", "weighted_ms"]


def random_parameters(shapes: ParameterShapes, dtype: torch.dtype = torch.float64, seed: int = 0) -> ArchitectureParameters:
    parameters = ArchitectureParameters.zeros(shapes, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    for tensor in parameters.tensors():
        tensor.normal_(generator=generator)
    return parameters


def scalar(module: LatencyModule, parameters: ArchitectureParameters) -> Tensor:
    """What a search would minimise."""
    found: Tensor = module(parameters) if isinstance(module, RelaxedLatency) else module(parameters).weighted_ms
    return found


def ragged() -> Coefficients:
    """Nodes of three, one and two widths, rows of unequal choices, a node that is entered in two ways, and one that takes two
    of three edges, one of them with a fixed operator, and applies one itself."""

    def edge(
        source: int, destination: int, row: int, kinds: tuple[str, ...], selection: tuple[int, tuple[int, ...]] | None
    ) -> Edge:
        operators = tuple(
            tuple(
                tuple(OperatorSpec(kind=kind, in_channels=a, out_channels=b, height=4 + source, width=4) for b in b_channels)
                for a in nodes[source].channels
            )
            for kind in kinds
            for b_channels in [nodes[destination].channels]
        )
        return Edge(source, destination, row, selection, operators)

    own = NodeOperator((OperatorSpec(kind="skip", in_channels=8, out_channels=8, height=9, width=4),))
    nodes = (Node((2, 3, 4), 0), Node((5,), always=True), Node((6, 7), 1), Node((8,), operators=(own,)))
    edges = (
        edge(0, 1, 0, ("skip", "conv3x3", "conv3x3_x2"), None),
        edge(0, 2, 1, ("skip", "conv3x3"), (0, (0,))),
        edge(1, 2, 2, ("skip", "conv3x3"), (0, (1,))),
        edge(0, 3, None, ("conv3x3",), (1, (0, 1))),
        edge(1, 3, 3, ("skip", "conv3x3"), (1, (0, 2))),
        edge(2, 3, 4, ("skip", "conv3x3"), (1, (1, 2))),
    )
    shapes = {"alpha": {"a": (1, 3), "b": (4, 2)}, "beta": {"c": (1, 2), "d": (1, 3)}, "gamma": {"d": (1, 3), "e": (1, 2)}}
    return gather(LatencyGraph(nodes, edges, (2, 3)), shapes, made_up_ms)


def through_groups(coefficients: Coefficients, value: Callable[[ArchitectureParameters], Tensor]) -> None:
    """gradcheck of a latency as a function of every group's logits."""
    start = random_parameters(coefficients.shapes)
    names = [(granularity, group) for granularity in GRANULARITIES for group in coefficients.shapes[granularity]]

    def latency(*logits: Tensor) -> Tensor:
        groups: dict[str, dict[str, Tensor]] = {granularity: {} for granularity in GRANULARITIES}
        for (granularity, group), tensor in zip(names, logits, strict=True):
            groups[granularity][group] = tensor
        return value(ArchitectureParameters.from_groups(coefficients.shapes, groups))

    leaves = [start.group(granularity, group).clone().requires_grad_() for granularity, group in names]
    assert torch.autograd.gradcheck(latency, leaves)
    assert torch.autograd.gradgradcheck(latency, leaves)


def test_gradient_of_the_relaxed_latency(small: Coefficients) -> None:
    through_groups(small, RelaxedLatency(small, dtype=torch.float64))


def test_gradient_where_nodes_keep_the_best_two_of_several_edges() -> None:
    parameters = {"base_channels": 4, "levels": 1, "nodes": 2, "operators": (3, 7), "sharing": 1}
    space = create_space(SpaceSpec(name="search_net", input_size=(8, 8), classes=2, parameters=parameters))
    coefficients = gather(space.latency_graph(), space.parameter_shapes(), made_up_ms)
    through_groups(coefficients, RelaxedLatency(coefficients, dtype=torch.float64))


@pytest.mark.parametrize("term", TERMS)
def test_gradient_of_each_term(small: Coefficients, term: str) -> None:
    latency = DecoupledLatency(small, dtype=torch.float64)
    through_groups(small, lambda parameters: getattr(latency(parameters), term))


@pytest.mark.parametrize("term", ["relaxed", *TERMS])
def test_gradients_where_rows_have_unequal_choices(term: str) -> None:
    coefficients = ragged()
    relaxed, decoupled = (module(coefficients, dtype=torch.float64) for module in MODULES)
    through_groups(coefficients, relaxed if term == "relaxed" else lambda parameters: getattr(decoupled(parameters), term))


def test_each_term_depends_on_its_own_granularity_alone(small: Coefficients) -> None:
    parameters = random_parameters(small.shapes).requires_grad_()
    terms = DecoupledLatency(small, dtype=torch.float64)(parameters)
    for term, own in zip(TERMS[:3], GRANULARITIES, strict=True):
        gradients = torch.autograd.grad(getattr(terms, term), list(parameters.tensors()), retain_graph=True)
        assert [name for name, gradient in zip(GRANULARITIES, gradients, strict=True) if gradient.any()] == [own]


def test_the_default_weights_are_the_published_ones(small: Coefficients) -> None:
    parameters = random_parameters(small.shapes)
    terms = DecoupledLatency(small, dtype=torch.float64)(parameters)
    assert tuple(PUBLISHED_WEIGHTS) == (0.001, 0.997, 0.002)
    expected_ms = 0.001 * terms.operator_ms + 0.997 * terms.downsample_ms + 0.002 * terms.expansion_ms
    assert terms.weighted_ms.item() == pytest.approx(expected_ms.item(), rel=1e-12)


def test_a_term_whose_granularity_the_space_lacks_is_constant() -> None:
    """DAG cells: no β and no γ. All three terms exist, and only the operators' has a gradient."""
    space = ToySpace.defaults()
    coefficients = gather(space.latency_graph(), space.parameter_shapes(), made_up_ms)
    parameters = random_parameters(coefficients.shapes).requires_grad_()
    latency = DecoupledLatency(coefficients, widths=Gumbel(), dtype=torch.float64)
    terms = latency(parameters)
    uniform_ms = RelaxedLatency(coefficients, dtype=torch.float64)(
        ArchitectureParameters.zeros(coefficients.shapes, dtype=torch.float64)
    )
    assert terms.downsample_ms.item() == pytest.approx(uniform_ms.item(), rel=1e-12)
    assert terms.expansion_ms.item() == pytest.approx(uniform_ms.item(), rel=1e-12)
    terms.weighted_ms.backward()
    assert parameters.alpha.grad is not None
    assert float(parameters.alpha.grad.abs().sum()) > 0


@pytest.mark.parametrize("module", MODULES)
def test_float32_agrees_with_float64(small: Coefficients, module: type[LatencyModule]) -> None:
    exact = scalar(module(small, dtype=torch.float64), random_parameters(small.shapes)).item()
    single = random_parameters(small.shapes)
    rounded = ArchitectureParameters(small.shapes, *(single.stacked(name).float() for name in GRANULARITIES))
    found = scalar(module(small), rounded)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("module", MODULES)
def test_autocast_leaves_the_latency_alone(small: Coefficients, module: type[LatencyModule]) -> None:
    """A search in mixed precision must not see milliseconds in bfloat16."""
    latency, parameters = module(small), random_parameters(small.shapes, torch.float32)
    outside = scalar(latency, parameters)
    with torch.autocast("cpu", torch.bfloat16):
        inside = scalar(latency, parameters)
    assert inside.dtype == torch.float32
    assert inside.item() == outside.item()


@pytest.mark.parametrize("module", MODULES)
def test_every_buffer_moves(small: Coefficients, module: type[LatencyModule]) -> None:
    latency = module(small)
    buffers = dict(latency.named_buffers())
    tensors = [name for name, value in vars(latency).items() if isinstance(value, Tensor)]
    assert not tensors, "a tensor that is no buffer stays behind"
    assert buffers
    assert all(buffer.device.type == "meta" for buffer in latency.to("meta").buffers())
    assert not latency.state_dict(), "what comes from the table does not belong into a checkpoint"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU and torch built for CUDA")
@pytest.mark.parametrize("module", MODULES)
def test_the_gpu_agrees_with_the_cpu(small: Coefficients, module: type[LatencyModule]) -> None:
    on_cpu = random_parameters(small.shapes)
    on_gpu = ArchitectureParameters(small.shapes, *(on_cpu.stacked(name).cuda() for name in GRANULARITIES)).requires_grad_()
    expected_ms = scalar(module(small, dtype=torch.float64), on_cpu.requires_grad_())
    expected_ms.backward()
    found_ms = scalar(module(small, dtype=torch.float64).cuda(), on_gpu)
    found_ms.backward()
    assert found_ms.item() == pytest.approx(expected_ms.item(), rel=1e-12)
    for there, here in zip(on_gpu.tensors(), on_cpu.tensors(), strict=True):
        assert there.grad is not None
        torch.testing.assert_close(there.grad.cpu(), here.grad)


@pytest.mark.parametrize("module", MODULES)
def test_parameters_of_another_dtype_or_space_are_refused(small: Coefficients, module: type[LatencyModule]) -> None:
    latency = module(small)
    with pytest.raises(ParameterError, match=r"torch.float64.*torch.float32"):
        latency(random_parameters(small.shapes, torch.float64))
    other = {**small.shapes, "gamma": {"8": (3, 5)}}
    with pytest.raises(ParameterError, match=r"gamma has groups .*\(3, 5\).*'16'"):
        latency(random_parameters(other, torch.float32))


def test_the_mean_of_gumbel_samples_approaches_the_expectation(small: Coefficients) -> None:
    parameters = random_parameters(small.shapes)
    expected_ms = RelaxedLatency(small, dtype=torch.float64)(parameters).item()
    sampled = RelaxedLatency(small, widths=Gumbel(generator=torch.Generator().manual_seed(0)), dtype=torch.float64)
    draws = torch.stack([sampled(parameters) for _ in range(3000)])
    assert float(draws.std()) > 0
    assert abs(draws.mean().item() - expected_ms) < 5 * draws.std().item() / len(draws) ** 0.5


def test_a_search_step_lowers_the_latency(small: Coefficients) -> None:
    """The three tensors in an optimiser, as a search uses them."""
    parameters = ArchitectureParameters.zeros(small.shapes).requires_grad_()
    latency = DecoupledLatency(small)
    optimiser = torch.optim.Adam(parameters.tensors(), lr=0.1)
    before_ms = latency(parameters).weighted_ms.item()
    for _ in range(20):
        optimiser.zero_grad()
        latency(parameters).weighted_ms.backward()
        optimiser.step()
    assert latency(parameters).weighted_ms.item() < before_ms
