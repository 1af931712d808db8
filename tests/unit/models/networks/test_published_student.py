"""FasterSeg's published student against its published numbers."""

from __future__ import annotations

import pytest
import torch

from models.networks.module import build_module, build_network, network_costs
from models.operators.seeded_weights import random_input
from models.spaces.registry import read_architecture, space_of
from models.spec.architectures import ArchitectureSpec
from models.spec.graphs import GraphRequest
from tests.support.reference import reference_file


@pytest.fixture
def student() -> ArchitectureSpec:
    path = reference_file("fasterseg/student.json")
    return read_architecture(path.read_bytes(), str(path))


def test_costs(student: ArchitectureSpec) -> None:
    costs = network_costs(space_of(student).plan(student))
    assert costs.parameters == 3_421_875
    assert round(costs.macs / 1e9, 1) == 28.2
    assert round(costs.convolution_macs / 1e9, 1) == 27.8


def test_parameters_of_the_module(student: ArchitectureSpec) -> None:
    with torch.device("meta"):
        network = build_network(space_of(student).plan(student))
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_421_875


def test_it_runs(student: ArchitectureSpec) -> None:
    small = student.model_copy(update={"input_size": (128, 256)})
    request = GraphRequest(subject=small)
    module = build_module(request, space_of(small).plan(small))
    with torch.no_grad():
        logits = module(torch.from_numpy(random_input(request.input_shape, request.key())))
    assert tuple(logits.shape) == (1, 19, 128, 256)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0.01
