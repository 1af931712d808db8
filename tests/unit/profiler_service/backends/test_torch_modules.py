"""Modules for torch's own backends."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.networks.own_module import load_module
from profiler_service.backends.torch_modules import with_norms_folded
from profiler_service.errors import BuildError

PLACE = "tests.support.own_networks:"


def test_a_folded_module_computes_the_same() -> None:
    images = torch.rand(1, 3, 16, 32)
    folded = with_norms_folded(load_module(PLACE + "Net"))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    torch.testing.assert_close(folded(images), load_module(PLACE + "Net")(images))


def test_a_module_that_is_not_traced() -> None:
    with pytest.raises(BuildError, match="cannot be folded: TraceError"):
        with_norms_folded(load_module(PLACE + "Branching"))


def test_a_normalisation_that_cannot_be_folded() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False)).eval()
    with pytest.raises(BuildError, match="cannot be folded"):
        with_norms_folded(layers)
