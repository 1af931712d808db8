"""What the latency loss adds to a search step. A small supernet is the hard case: the loss does not shrink with the images."""

from __future__ import annotations

import statistics
import time

import pytest
import torch

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from nas_client.data.transforms import Batch
from nas_client.search.progress import RngKey
from tests.support.searches import prepared, small, small_table

MOST_SHARE = 0.01
STEPS = 10
SPACE = create_space(
    SpaceSpec(name="fasterseg", input_size=(64, 128), parameters={"layers": 6, "base_channels": 3, "widths": (4, 8, 12)})
)


@pytest.mark.benchmark
@pytest.mark.parametrize("mode", ["decoupled", "naive"])
def test_the_latency_loss_is_a_small_part_of_a_step(mode: str) -> None:
    torch.set_num_threads(1)
    config = small(latency__mode=mode)
    run = prepared(config, small_table(SPACE.spec))
    batch = Batch(torch.randn(2, 3, 64, 128), torch.randint(19, (2, 64, 128)))
    shares = []
    for step in range(STEPS + 1):
        before, started = run.latency_s, time.perf_counter()
        run.step([batch, batch], RngKey(0, 1, 0, step), "here", step=step, steps=STEPS + 1)
        shares.append((run.latency_s - before) / (time.perf_counter() - started))
    share = statistics.median(shares[1:])  # the first fills caches
    print(f"\nlatency loss ({mode}), share of a search step with two images of 64×128: {share:.3%} (at most {MOST_SHARE:.0%})")
    assert share < MOST_SHARE
