"""A supernet under one-hot parameters is the fixed network of that architecture, with the weights that it uses there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.networks.module import build_network
from models.spaces.fasterseg.parameters import OPERATORS
from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.testing.decoding import EXACT
from models.testing.supernets import certain, disturb, mixture_of
from tests.support.fasterseg_networks import branches_of, with_branches

SPACES = [
    {"layers": 3, "base_channels": 3, "widths": (4, 8, 12)},
    {"layers": 5, "base_channels": 3, "widths": (4, 8, 12)},
    {"layers": 6, "base_channels": 2, "widths": (3, 9), "stem_width": 6, "head_width": 3},
]


@pytest.mark.parametrize("parameters", SPACES)
@pytest.mark.parametrize("role", ["student", "teacher"])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), alternative=st.sampled_from(["8", "16", "32", "8,16", "8,32", "16,32"]))
def test_the_decoded_network_is_the_supernets_path(parameters: dict[str, int], role: str, seed: int, alternative: str) -> None:
    """Skips apart, which keep a convolution in the supernet. In training mode too: batch statistics are the same."""
    space = create_space(SpaceSpec(name="fasterseg", input_size=(64, 96), classes=3, batch=2, parameters=parameters))
    torch.manual_seed(seed)
    supernet = disturb(space.supernet())
    rng = np.random.default_rng(seed)
    choices = certain(space.parameter_shapes(), rng, without=OPERATORS.index("skip"))
    if role == "teacher":
        for rows in choices["gamma"].values():
            rows[:] = np.eye(rows.shape[1])[-1]
    architecture = space.decode(choices, alternative=alternative, role=space.role(role), options=EXACT)
    architecture = with_branches(architecture, rng.permutation(np.array(branches_of(architecture))))
    network = build_network(space.plan(architecture))
    space.copy_weights(supernet, role, architecture, network)

    images = torch.randn(2, 3, 64, 96)
    for training in (False, True):
        supernet.train(training)
        network.train(training)
        with torch.no_grad():
            expected = network(images)
            predictions = supernet(images, mixture_of(choices), role=role, alternatives=[alternative])
        torch.testing.assert_close(predictions.combined[alternative], expected, rtol=1e-4, atol=1e-4)
