"""A supernet of all that FasterSeg's has, as small as can be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.spaces.base import SearchSpace
from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.supernets.base import Supernet
from models.testing.supernets import Logits, disturb, random_logits


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return create_space(
        SpaceSpec(
            name="fasterseg", input_size=(64, 96), classes=4, parameters={"layers": 5, "base_channels": 3, "widths": (4, 8, 12)}
        )
    )


@pytest.fixture
def supernet(space: SearchSpace) -> Supernet:
    torch.manual_seed(0)
    return disturb(space.supernet())


@pytest.fixture
def logits(space: SearchSpace) -> Logits:
    return random_logits(space.parameter_shapes())


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
