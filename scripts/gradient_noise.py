"""How much of an architecture gradient is signal: its norm in one batch, that of the mean over many, and the latency's.

Of a pre-trained supernet, before the first step of its search. If batches told nothing, the mean of n of them would be 1/√n as
long as one (last column: how many times longer than that it is).

    python scripts/gradient_noise.py --table collapse/table.arrow --search collapse/seed0/pretrain
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import torch

from models.spaces.registry import create_space
from nas_client.latency.parameters import GRANULARITIES
from nas_client.latency.relaxation import Gumbel
from nas_client.runs.checkpoints import Checkpoints
from nas_client.runs.config import read_config
from nas_client.runs.manifest import CONFIG
from nas_client.runs.processes import Processes
from nas_client.search.config import SearchConfig
from nas_client.search.cosearch import PRETRAINED
from nas_client.search.learner import Learner
from nas_client.search.progress import RngKey, Stream
from nas_client.search.setup import SearchData
from nas_client.search.updates import seeded
from nas_client.table import load_table


def main() -> None:
    """Print a line for each granularity."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", required=True)
    parser.add_argument("--search", type=Path, required=True, help="folder of a search that has pre-trained")
    parser.add_argument("--batches", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config, table, processes = read_config(SearchConfig, options.search / CONFIG), load_table(options.table), Processes()
    space = create_space(table.info.space)
    learner = Learner(config, space, table, processes)
    learner.supernet.load_state_dict(Checkpoints(options.search).read(PRETRAINED)["supernet"])
    learner.start_phase("search")
    network, data = learner.networks[learner.searched], SearchData.open(config, space, processes)
    wanted, gumbel = config.search, Gumbel(config.search.temperature, torch.Generator())
    batches = data.training(data.halves()[1], epoch=0, batch_size=wanted.batch_size, crop=wanted.crop)
    found = []
    for step, batch in enumerate(islice(batches, options.batches)):
        mixture = network.for_architecture(seeded(gumbel, RngKey(config.seed, 1, 0, step), Stream.GUMBEL))
        found.append(torch.autograd.grad(learner.passes.loss(batch, mixture, learner.searched), network.optimized))
    latency = torch.autograd.grad(config.latency.factor * learner.latency(network.logits, 0), network.optimized)
    print(f"{len(found)} batches: one batch, their mean, λ · latency, mean · √n / one")
    for index, name in enumerate(GRANULARITIES):
        each = torch.stack([gradients[index] for gradients in found])
        one, mean = each.flatten(1).norm(dim=1).mean(), each.mean(dim=0).norm()
        print(f"{name:6} {one:.2e} {mean:.2e} {latency[index].norm():.2e} {mean * len(found) ** 0.5 / one:.2f}")


if __name__ == "__main__":
    main()
