"""A training step of the decoupled latency (three terms, forward and backward, L = 16) against the published way."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.spaces.fasterseg.space import FasterSegSpace
from models.spec.architectures import SpaceSpec
from models.testing.graph_reference import made_up_ms
from nas_client.latency.coefficients import Coefficients, gather
from nas_client.latency.decoupled import DecoupledLatency
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.latency.relaxation import Gumbel, Relaxation, expected
from nas_client.latency.relaxed import RelaxedLatency
from nas_client.latency.sensitivity import PUBLISHED_WEIGHTS
from tests.benchmarks.published_way import PublishedWay, WidthsOf, sampled, weighted

pytestmark = [pytest.mark.benchmark, pytest.mark.usefixtures("quiet_process")]

LEAST_RATIO = 30
ROUNDS = 15
FAST_STEPS = 20
"""Of ours, for each of the published way's: both are spread over the same stretch of time."""

SCALES = ("8", "16", "32")
WIDTHS = [pytest.param(Gumbel, sampled, id="Gumbel"), pytest.param(lambda: expected, weighted, id="expected")]


@pytest.fixture(scope="module")
def space() -> FasterSegSpace:
    return FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=(1024, 2048)))


@pytest.fixture(scope="module")
def coefficients(space: FasterSegSpace) -> Coefficients:
    return gather(space.latency_graph(), space.parameter_shapes(), made_up_ms)


@pytest.fixture
def parameters(space: FasterSegSpace) -> ArchitectureParameters:
    parameters = ArchitectureParameters.zeros(space.parameter_shapes())
    generator = torch.Generator().manual_seed(0)
    for tensor in parameters.tensors():
        tensor.normal_(generator=generator)
    return parameters.requires_grad_()


def by_scale(parameters: ArchitectureParameters) -> list[list[Tensor]]:
    """A leaf for each of α, β, γ and each scale, as the published code has them."""
    return [
        [
            parameters.group(name, scale).detach().clone().requires_grad_()
            for scale in SCALES
            if scale in parameters.shapes[name]
        ]
        for name in ("alpha", "beta", "gamma")
    ]


def step_ms(loss: Callable[[], Tensor], leaves: list[Tensor]) -> float:
    for leaf in leaves:
        leaf.grad = None
    start = time.perf_counter()
    loss().backward()
    return 1e3 * (time.perf_counter() - start)


@pytest.mark.parametrize(("relaxation", "widths"), WIDTHS)
def test_both_compute_the_same(
    space: FasterSegSpace,
    coefficients: Coefficients,
    parameters: ArchitectureParameters,
    relaxation: Callable[[], Relaxation],
    widths: WidthsOf,
) -> None:
    """The loss, and the gradients of α and β; those of γ too in expectation. (The published way lets the gradient of a sample
    through to the drawn width's score alone, ours to all of the sample's.)"""
    torch.manual_seed(0)
    drawn = relaxation()(parameters.gamma)
    ours = DecoupledLatency(coefficients, widths=lambda _: drawn)(parameters).weighted_ms
    alpha, beta, gamma = by_scale(parameters)
    in_groups = dict(zip(gamma, drawn.split([len(group) for group in gamma]), strict=True))
    theirs = PublishedWay(space, made_up_ms, widths).loss(alpha, beta, gamma, PUBLISHED_WEIGHTS, in_groups.__getitem__)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    checked = [parameters.alpha, parameters.beta, *([drawn] if widths is weighted else [])]
    own = torch.autograd.grad(ours, checked, retain_graph=True)
    published = torch.autograd.grad(theirs, [*alpha, *beta, *([drawn] if widths is weighted else [])])
    torch.testing.assert_close(own[0], torch.cat(published[:3]), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(own[1], torch.cat(published[3:5]), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(own[2:], published[5:], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("relaxation", "widths"), WIDTHS)
def test_a_step_is_much_faster_than_the_published_way(
    space: FasterSegSpace,
    coefficients: Coefficients,
    parameters: ArchitectureParameters,
    relaxation: Callable[[], Relaxation],
    widths: WidthsOf,
    request: pytest.FixtureRequest,
) -> None:
    relax = relaxation()
    decoupled, relaxed = DecoupledLatency(coefficients, widths=relax), RelaxedLatency(coefficients, widths=relax)
    theirs = PublishedWay(space, made_up_ms, widths)
    alpha, beta, gamma = by_scale(parameters)
    own, published = list(parameters.tensors()), [*alpha, *beta, *gamma]
    slow_ms, fast_ms, relaxed_ms = [], [], []
    for _ in range(ROUNDS):
        slow_ms.append(step_ms(lambda: theirs.loss(alpha, beta, gamma, PUBLISHED_WEIGHTS, relax), published))
        fast_ms += [step_ms(lambda: decoupled(parameters).weighted_ms, own) for _ in range(FAST_STEPS)]
        relaxed_ms += [step_ms(lambda: relaxed(parameters), own) for _ in range(FAST_STEPS)]
    slow, fast = statistics.median(slow_ms), statistics.median(fast_ms)
    print(
        f"\nlatency step, {request.node.callspec.id} widths: published way {slow:.1f} ms, ours {fast:.3f} ms, "
        f"ratio {slow / fast:.0f} (at least {LEAST_RATIO}); the relaxed latency {statistics.median(relaxed_ms):.3f} ms"
    )
    assert slow / fast >= LEAST_RATIO
