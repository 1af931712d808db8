"""Mixed precision and compilation change how fast a supernet is, not what it computes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.supernets.base import Mixture, Supernet
from models.testing.supernets import Logits, disturb, random_logits

PARAMETERS = {"layers": 3, "base_channels": 3, "widths": (4, 8)}
SPEC = SpaceSpec(name="fasterseg", input_size=(64, 64), classes=3, parameters=PARAMETERS)


@pytest.fixture
def small() -> tuple[Supernet, Logits]:
    torch.manual_seed(0)
    space = create_space(SPEC)
    return disturb(space.supernet()).eval(), random_logits(space.parameter_shapes())


def scores(supernet: Supernet, mixture: Mixture, images: Tensor) -> Tensor:
    return supernet(images, mixture, role="student", alternatives=["8,16"]).combined["8,16"]


def test_bfloat16_autocast(small: tuple[Supernet, Logits]) -> None:
    """Scores come in bfloat16 and close to those of float32; gradients of the logits stay in float32, and in direction."""
    supernet, logits = small
    images = torch.randn(2, 3, 64, 64)
    gradients = []
    outputs = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            outputs.append(scores(supernet, logits.mixture(), images))
        gradients.append(torch.autograd.grad(outputs[-1].float().square().mean(), (logits.alpha, logits.beta, logits.gamma)))
    exact, rounded = outputs
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() < 0.05 * exact.norm()
    for expected, found in zip(*gradients, strict=True):
        assert found.dtype == torch.float32
        assert torch.cosine_similarity(expected.flatten(), found.flatten(), dim=0) > 0.97


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own, as it traces
def test_compiled_operators(small: tuple[Supernet, Logits]) -> None:
    """Without the code generator, which is torch's to test: tracing and differentiation, with widths that change."""
    supernet, logits = small
    images = torch.randn(2, 3, 64, 64)
    rows = len(logits.gamma)
    widths = [(1,) * rows, tuple(row % 2 for row in range(rows))]
    leaves = (logits.alpha, logits.beta, logits.gamma)

    def run(chosen: tuple[int, ...]) -> tuple[Tensor, ...]:
        mixture = replace(logits.mixture(), widths=chosen)
        output = scores(supernet, mixture, images)
        return output, *torch.autograd.grad(output.square().mean(), leaves)

    plain = [run(chosen) for chosen in widths]
    supernet.compile_operators(backend="aot_eager")
    for chosen, expected in zip(widths, plain, strict=True):
        torch.testing.assert_close(run(chosen), expected, rtol=1e-3, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
