"""Where a role's logits start: at the space's first ones, with noise that follows from the seed."""

from __future__ import annotations

import pytest
import torch

from models.spaces.base import Role
from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from nas_client.latency.relaxation import Gumbel
from nas_client.search.relaxed_network import RelaxedNetwork

SPACE = create_space(SpaceSpec(name="fasterseg", input_size=(32, 64), parameters={"layers": 5}))


def started(role: str, deviation: float) -> RelaxedNetwork:
    shapes, start = SPACE.parameter_shapes(), SPACE.initial_logits()
    return RelaxedNetwork(shapes, start, role=SPACE.role(role), deviation=deviation, seed=7, device="cpu")


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_downsampling_starts_even_and_the_rest_at_equal_choices(role: str) -> None:
    """β's probability of the finer scale is j/l at layer l."""
    logits = started(role, deviation=0.0).logits
    assert torch.softmax(logits.group("beta", "16"), -1)[:, 0].tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 4])
    assert torch.softmax(logits.group("beta", "32"), -1)[:, 0].tolist() == pytest.approx([2 / 3, 2 / 4])
    assert not logits.alpha.any()
    assert not logits.gamma.any()


def test_noise_is_added_to_the_start() -> None:
    exact, noisy, again = (started("student", deviation) for deviation in (0.0, 0.01, 0.01))
    for granularity in ("alpha", "beta", "gamma"):
        noise = noisy.logits.stacked(granularity) - exact.logits.stacked(granularity)
        assert 0.001 < noise.std().item() < 0.1
        assert torch.equal(noisy.logits.stacked(granularity), again.logits.stacked(granularity))
    assert all(tensor.requires_grad for tensor in noisy.optimized)


def test_decided_widths_are_among_those_that_a_row_has() -> None:
    """Rows of few choices are padded, with logits that may be the highest."""
    shapes = {"alpha": {"a": (1, 2)}, "beta": {}, "gamma": {"narrow": (1, 2), "wide": (1, 3)}}
    network = RelaxedNetwork(shapes, {}, role=Role("network"), deviation=0.0, seed=0, device="cpu")
    with torch.no_grad():
        network.logits.gamma.copy_(torch.tensor([[-2.0, -1.0, 0.0], [-3.0, -2.0, -1.0]]))
    network.start_phase(searched=("alpha",), decided=("gamma",))
    assert network.for_architecture(Gumbel(1.0)).widths == network.most_probable_widths().widths == (1, 2)
