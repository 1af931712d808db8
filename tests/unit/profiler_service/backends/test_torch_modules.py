"""Modules for torch's own backends."""

from __future__ import annotations

import operator

import pytest
import torch
from torch import nn

from models.networks.own_module import load_module
from profiler_service.backends.torch_modules import with_norms_folded
from profiler_service.errors import BuildError
from tests.support.own_networks import shared_convolutions

PLACE = "tests.support.own_networks:"


def test_a_folded_module_computes_the_same() -> None:
    images = torch.rand(1, 3, 16, 32)
    folded = with_norms_folded(load_module(PLACE + "Net"), (1, 3, 16, 32))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    torch.testing.assert_close(folded(images), load_module(PLACE + "Net")(images))


def test_a_module_that_is_not_traced() -> None:
    with pytest.raises(BuildError, match="cannot be folded: TraceError"):
        with_norms_folded(load_module(PLACE + "Branching"), (1, 3, 16, 32))


class Measuring(nn.Module):
    """Asks how long a tensor is, which torch.fx cannot answer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.groups = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GroupNorm(2, 4)
        nn.init.uniform_(self.norm.running_mean)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.groups(self.norm(self.conv(x))) * len(x)


def test_a_module_that_only_torch_export_understands_is_folded_too() -> None:
    images = torch.rand(2, 3, 16, 32)
    module = Measuring().eval()
    folded = with_norms_folded(module, (2, 3, 16, 32))
    assert torch.ops.aten.batch_norm.default not in {node.target for node in folded.graph.nodes}
    torch.testing.assert_close(folded(images), module(images))


class Adding(nn.Module):
    """Adds to a map that it reads again later."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x))
        before = y
        y += torch.relu(y)
        return before * y


def test_what_an_augmented_assignment_writes_over_stays_written_over() -> None:
    images = torch.rand(1, 3, 4, 4)
    module = Adding().eval()
    folded = with_norms_folded(module, (1, 3, 4, 4))
    assert operator.iadd in {node.target for node in folded.graph.nodes}
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    torch.testing.assert_close(folded(images), module(images))


@pytest.mark.parametrize("module", shared_convolutions(), ids=["own_norms", "one_norm", "without_norm"])
def test_each_run_of_a_shared_convolution_has_its_own_norm(module: nn.Module) -> None:
    images = torch.rand(1, 3, 8, 8)
    expected = module(images)
    torch.testing.assert_close(with_norms_folded(module, (1, 3, 8, 8))(images), expected)


def test_a_normalisation_without_scale_is_folded() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False)).eval()
    images = torch.rand(1, 3, 4, 4)
    expected = layers(images)
    folded = with_norms_folded(layers, (1, 3, 4, 4))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    torch.testing.assert_close(folded(images), expected)
