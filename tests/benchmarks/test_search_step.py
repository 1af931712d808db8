"""What the latency loss adds to a search step. A small supernet is the hard case: the loss does not shrink with the images."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import torch

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from nas_client.data.transforms import Batch
from nas_client.runs.processes import Processes
from nas_client.search.cosearch import CoSearch
from nas_client.search.progress import Watch
from nas_client.search.updates import WeightUpdate, clock
from tests.searches import small, small_table

MOST_SHARE = 0.01
STEPS = 10
SPACE = create_space(
    SpaceSpec(name="fasterseg", input_size=(64, 128), parameters={"layers": 6, "base_channels": 3, "widths": (4, 8, 12)})
)


@pytest.mark.benchmark
@pytest.mark.parametrize("mode", ["decoupled", "naive"])
def test_the_latency_loss_is_a_small_part_of_a_step(tmp_path: Path, mode: str) -> None:
    torch.set_num_threads(1)
    config = small(latency__mode=mode, search__crop=(64, 128), pretrain__crop=(64, 128))
    run = CoSearch(config, small_table(SPACE.spec), tmp_path, Processes(), Watch(), None)
    run.position = run.position.after_phase()
    update = WeightUpdate(run.passes, run.weight_optimizer, 5.0, run.processes)
    batch = Batch(torch.randn(2, 3, 64, 128), torch.randint(19, (2, 64, 128)))
    latency = run.architecture_updates["student"]
    shares = []
    for _ in range(STEPS + 1):
        before, started = latency.latency_s, clock(run.processes.device)
        run.step(update, [batch, batch])
        shares.append((latency.latency_s - before) / (clock(run.processes.device) - started))
        run.position.step += 1
    share = statistics.median(shares[1:])  # the first fills caches
    print(f"\nlatency loss ({mode}), share of a search step with two images of 64×128: {share:.3%} (at most {MOST_SHARE:.0%})")
    assert share < MOST_SHARE
