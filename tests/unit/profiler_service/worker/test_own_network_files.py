"""The files of a torch module of somebody's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.networks.own_module import load_module
from models.spec.errors import InvalidSpecError
from models.spec.graphs import GraphRequest, OwnNetwork
from profiler_service.backends.base import seeded_input
from profiler_service.worker.graph_files import make_files
from profiler_service.worker.graphs import GraphCache

PLACE = "tests.support.own_networks:"


def request(name: str) -> GraphRequest:
    return GraphRequest(subject=OwnNetwork(name=PLACE + name, input_shape=(1, 3, 16, 32)))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_the_reference_is_the_modules_own_output(tmp_path: Path) -> None:
    cache = GraphCache.open(tmp_path)
    artifact = cache.artifact(request("Net"), reads_onnx=False)
    make_files(artifact, cache)
    assert artifact.reference_path is not None
    output = load_module(PLACE + "Net")(torch.from_numpy(seeded_input(request("Net"))))
    np.testing.assert_array_equal(np.load(artifact.reference_path), output.detach().numpy())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("TwoOutputs", "gives a tuple with 2 parts; only one tensor"),
        ("Random", "gives another output each time"),
        ("NotFinite", "gives NaN or infinite values"),
    ],
)
def test_outputs_that_cannot_be_checked(tmp_path: Path, name: str, says: str) -> None:
    cache = GraphCache.open(tmp_path)
    with pytest.raises(InvalidSpecError) as raised:
        make_files(cache.artifact(request(name), reads_onnx=True), cache)
    assert says in raised.value.message
    assert list(tmp_path.iterdir()) == []
