"""A search space of the smallest kind that has all three granularities, against made-up table values."""

from __future__ import annotations

import pytest

from models.spaces.base import SearchSpace
from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.testing.graph_reference import made_up_ms
from nas_client.latency.coefficients import Coefficients, gather


@pytest.fixture(scope="session")
def small_space() -> SearchSpace:
    """FasterSeg's with four layers and two widths."""
    return create_space(SpaceSpec(name="fasterseg", input_size=(64, 32), parameters={"layers": 4, "widths": (4, 8)}))


@pytest.fixture(scope="session")
def small(small_space: SearchSpace) -> Coefficients:
    return gather(small_space.latency_graph(), small_space.parameter_shapes(), made_up_ms)
