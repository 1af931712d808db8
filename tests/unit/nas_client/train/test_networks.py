"""Networks as they are trained: at the size of the crops, with heads that no trained network keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.networks.module import build_network
from models.spaces.registry import plan_at
from models.spec.architectures import SpaceSpec
from models.spec.errors import InvalidSpecError
from nas_client.train.networks import TrainableNetwork, seeded_network
from tests.support.toy_space import ToySpace
from tests.support.trainings import small_architecture

CROP = (32, 96)


def _images(*size: int) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def _touched(module: nn.Module) -> set[str]:
    """Names of the parameters that have a gradient other than zero."""
    return {name for name, p in module.named_parameters() if p.grad is not None and bool(p.grad.any())}


@pytest.mark.parametrize("size", [(64, 64), (32, 96), (96, 32)])
def test_scores_at_full_size_are_those_of_the_whole_network(size: tuple[int, int]) -> None:
    architecture = small_architecture()
    trainable = TrainableNetwork(architecture, size).eval()
    whole = build_network(plan_at(architecture, size)).eval()
    whole.load_state_dict(trainable.network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(trainable(_images(*size), size).combined, whole(_images(*size)), rtol=0, atol=0)


def test_scores_at_an_eighth_are_not_resized() -> None:
    trainable = TrainableNetwork(small_architecture(), CROP).eval()
    with torch.no_grad():
        scores = trainable(_images(*CROP), (CROP[0] // 8, CROP[1] // 8)).combined
        torch.testing.assert_close(scores, trainable.network(_images(*CROP)), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("ends", "coarse"), [((8,), 0), ((16,), 1), ((32,), 1), ((8, 16), 1), ((8, 32), 1), ((16, 32), 2), ((8, 16, 32), 2)]
)
def test_there_is_a_head_at_every_end_coarser_than_the_scores(ends: tuple[int, ...], coarse: int) -> None:
    scores = TrainableNetwork(small_architecture(*ends), CROP, auxiliary=True)(_images(*CROP), (4, 12))
    assert [logits.shape for logits in scores.auxiliary] == [(2, 19, 4, 12)] * coarse


@pytest.mark.parametrize(
    ("ends", "seen"),
    [((8,), ()), ((16,), (1,)), ((8, 32), (1, 1)), ((16, 32), (2, 1)), ((8, 16, 32), (2, 1))],
)
def test_published_heads_see_the_last_map_at_a_sixteenth_of_a_branch_that_goes_on(
    ends: tuple[int, ...], seen: tuple[int, ...]
) -> None:
    """The head at 1/16, where it sees two maps, has the channels of both."""
    trainable = TrainableNetwork(small_architecture(*ends), CROP, auxiliary=True, auxiliary_heads="published")
    scores = trainable(_images(*CROP), (4, 12))
    assert [logits.shape for logits in scores.auxiliary] == [(2, 19, 4, 12)] * len(seen)
    assert tuple(len(steps) for steps in trainable.network.plan.auxiliary or ()) == seen
    if ends == (8, 32):  # its last map at 1/16 has width 8 of base channels 3, its end has the head's width 8
        scores.auxiliary[0].square().sum().backward()
        touched = _touched(trainable)
        assert any("branch1_cell0" in name for name in touched)
        assert not any("branch1_cell1" in name for name in touched)


def test_published_heads_of_a_space_without_any_are_refused() -> None:
    toy = ToySpace.from_spec(SpaceSpec(name="toy_dag", input_size=(16, 24), classes=5))
    architecture = toy.sample(np.random.default_rng(0))
    with pytest.raises(InvalidSpecError, match="nothing is published of such heads in space 'toy_dag'"):
        TrainableNetwork(architecture, (16, 24), auxiliary=True, auxiliary_heads="published")


def test_heads_are_no_part_of_the_network() -> None:
    architecture = small_architecture()
    with_heads, without = (TrainableNetwork(architecture, CROP, auxiliary=auxiliary) for auxiliary in (True, False))
    assert len(with_heads.heads) == 1
    assert with_heads.network.state_dict().keys() == without.network.state_dict().keys()
    assert without(_images(*CROP), (4, 12)).auxiliary == ()


def test_each_loss_reaches_what_it_should() -> None:
    """An auxiliary loss trains its head and what leads to its branch's end, the network's own everything but the heads."""
    trainable = TrainableNetwork(small_architecture(8, 32), CROP, auxiliary=True)
    trainable(_images(*CROP), (4, 12)).auxiliary[0].square().sum().backward()
    touched = _touched(trainable)
    parts = {name.split(".")[0] if name.startswith("heads") else name.split(".")[2] for name in touched}
    assert {"heads", "stem0", "branch1_cell0", "branch1_cell2"} <= parts
    assert not {part for part in parts if part.startswith(("fusion", "classifier", "branch0", "branch1_reduce"))}

    trainable.zero_grad()
    trainable(_images(*CROP), (4, 12)).combined.square().sum().backward()
    assert _touched(trainable.heads) == set()
    assert len(_touched(trainable.network)) == len(list(trainable.network.parameters()))


def test_weights_follow_from_the_seed_and_touch_no_other_randomness() -> None:
    architecture = small_architecture()
    before = torch.get_rng_state()
    first, again, other = (seeded_network(architecture, CROP, auxiliary=True, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    weight = "network.steps.classifier.classify.weight"
    assert torch.equal(first.state_dict()[weight], again.state_dict()[weight])
    assert not torch.equal(first.state_dict()[weight], other.state_dict()[weight])


def test_a_size_that_the_network_cannot_take_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match="height 36 is not divisible by 8"):
        TrainableNetwork(small_architecture(), (36, 64))
