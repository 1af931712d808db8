"""The published networks: sizes as published or as explained, and what they compute with."""

from __future__ import annotations

import pytest
import torch

from models.networks import baselines
from models.networks.baselines.enet import unpooled

MILLIONS = {"UNet": 31.03, "FastSCNN": 1.14, "ENet": 0.355, "ICNet": 6.70, "BiSeNet": 12.80}
"""Parameters of ours; docs/own-network.md has the published numbers beside them, and why some differ."""


@pytest.mark.parametrize("name", baselines.__all__)
def test_a_baseline_has_its_size_and_gives_logits_at_the_size_of_its_input(name: str) -> None:
    network = getattr(baselines, name)().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(MILLIONS[name], rel=0.005)
    with torch.inference_mode():
        logits = network(torch.randn(1, 3, 32, 64))
    assert logits.shape == (1, 19, 32, 64)
    assert logits.std() > 0


def test_unpooling_is_torchs_own() -> None:
    maxima, places = torch.nn.functional.max_pool2d(torch.randn(2, 3, 8, 12), 2, return_indices=True)
    torch.testing.assert_close(unpooled(maxima, places), torch.nn.functional.max_unpool2d(maxima, places, 2))
