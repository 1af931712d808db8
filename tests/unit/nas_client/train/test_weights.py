from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from models.networks.module import Network
from nas_client.data.transforms import Batch
from nas_client.train.networks import seeded_network
from nas_client.train.weights import channels_last, copy_of, lay_out, moving_average, recalibrate, weights_digest
from tests.support.trainings import small_architecture

CROP = (32, 64)


def _network() -> Network:
    return seeded_network(small_architecture(), CROP, auxiliary=False, seed=0).network


def _batches(count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    images = (torch.randn(4, 3, *CROP, generator=generator) * (step + 1) for step in range(count))
    return [Batch(image, torch.zeros(4, *CROP, dtype=torch.int64)) for image in images]


def test_a_moving_average_forgets_at_its_decay() -> None:
    """Weights and the statistics of batch normalisation alike; the first update copies."""
    network, decay = _network(), 0.75
    average = moving_average(network, decay)
    names = ("steps.stem0.conv1.weight", "steps.stem0.bn1.running_mean")
    expected = {}
    for step in range(3):
        with torch.no_grad():
            for name in names:
                network.state_dict()[name].add_(1.0)
        average.update_parameters(network)
        for name in names:
            now = network.state_dict()[name].clone()
            expected[name] = now if step == 0 else decay * expected[name] + (1 - decay) * now
    for name in names:
        torch.testing.assert_close(copy_of(average)[name], expected[name])
    assert copy_of(average).keys() == network.state_dict().keys()


def test_recalibrated_statistics_are_means_over_the_batches() -> None:
    network, batches = _network(), _batches(3)
    before = copy_of(network)
    recalibrate(network, batches, torch.device("cpu"))
    with torch.no_grad():
        maps = [network.steps["stem0"].conv1(batch.images) for batch in batches]
    after = copy_of(network)
    expected = torch.stack([x.mean((0, 2, 3)) for x in maps]).mean(0)
    torch.testing.assert_close(after["steps.stem0.bn1.running_mean"], expected, rtol=1e-4, atol=1e-6)
    variance = torch.stack([x.var((0, 2, 3)) for x in maps]).mean(0)
    torch.testing.assert_close(after["steps.stem0.bn1.running_var"], variance, rtol=1e-4, atol=1e-6)
    for name in before:
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(before[name], after[name]), name


def test_recalibrating_does_not_change_how_the_network_trains_on() -> None:
    network = _network()
    momenta = [layer.momentum for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    recalibrate(network, _batches(1), torch.device("cpu"))
    assert [layer.momentum for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)] == momenta


def test_a_digest_names_every_weight_and_where_it_stands() -> None:
    state = copy_of(_network())
    digest = weights_digest(state)
    assert digest == weights_digest(dict(reversed(copy_of(_network()).items())))
    changed = dict(state)
    changed["steps.stem0.bn1.running_mean"] = state["steps.stem0.bn1.running_mean"] + 1e-3
    assert weights_digest(changed) != digest
    swapped = dict(state)
    first, second = "steps.stem0.bn1.weight", "steps.stem0.bn1.running_mean"
    swapped[first], swapped[second] = state[second], state[first]
    assert weights_digest(swapped) != digest


@pytest.mark.parametrize("averaged", [False, True])
def test_a_copy_does_not_follow(averaged: bool) -> None:
    network = _network()
    copied = copy_of(moving_average(network, 0.5) if averaged else network)
    name = "steps.stem0.conv1.weight"
    kept = copied[name].clone()
    with torch.no_grad():
        network.state_dict()[name].zero_()
    assert torch.equal(copied[name], kept)


def test_narrow_strided_1x1_convolutions_are_not_trained_in_channels_last_layout() -> None:
    """In it oneDNN writes their gradient past the end of its memory: this ended with a segmentation fault."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1, stride=2, bias=False), nn.Conv2d(4, 4, 3))
    laid_out = lay_out(copy.deepcopy(plain))
    images = torch.randn(8, 3, 64, 64)
    plain(images).sum().backward()
    laid_out(channels_last(images)).sum().backward()
    for mine, yours in zip(laid_out.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, yours.grad, rtol=1e-4, atol=1e-2)
    assert laid_out[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert laid_out[0](channels_last(images)).is_contiguous(memory_format=torch.channels_last)
