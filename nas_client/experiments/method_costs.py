"""What the methods cost, in training passes: one network's forward and backward pass over one image.

An evaluation counts a third of that. How long a pass takes depends on the network; the widest and the narrowest of a supernet's
step count as much as a random one between them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import fmean

import torch

from models.spec.base import Record
from nas_client.data.datasets import open_dataset
from nas_client.experiments.latency_budget import LatencyBudget
from nas_client.experiments.method_config import Method, MethodsConfig, require_supernets
from nas_client.train.losses import hard_pixel_cross_entropy
from nas_client.train.networks import seeded_network

EVALUATION = 1 / 3
"""Of a training pass."""

_WIDEST_AND_NARROWEST = 2
_TIMED = 3


class MethodCosts(Record):
    """Training passes for each seed; the trainings of what is compared stand apart.

    Attributes:
        evolution: of a search by evolution for all targets.
        short: of one short training.
        best_of: short trainings for each target.
        gradient: of the pre-training and a search for each target. Every pass computes all operators, and counts that often.
        training: of one training that is compared.
    """

    evolution: float
    short: float
    best_of: int
    gradient: float
    training: float


def method_costs(config: MethodsConfig, budget: LatencyBudget) -> MethodCosts:
    """What each method costs; targets of the configuration are stated.

    Raises:
        DatasetError, UnknownNameError: there is no such data set.
    """
    search, selection, goals = config.search, config.search.selection, len(config.targets_ms)
    images = len(open_dataset(search.data, "train"))
    left = images - selection.images
    batch = selection.training.batch_size or search.pretrain.batch_size
    statistics = search.evaluation.statistics_batches
    short = selection.training.epochs * left + EVALUATION * (selection.images + statistics * batch)
    passes = _WIDEST_AND_NARROWEST + search.pretrain.random_widths
    scored = (1 + selection.generations) * selection.population * goals
    evolution: float = search.pretrain.epochs * left * passes
    evolution += EVALUATION * scored * (selection.images + statistics * search.pretrain.batch_size)
    evolution += (selection.shortlist * goals + selection.check) * short
    # of a gradient search: half of the images for weights, half for logits; all operators, both roles
    operators = fmean(budget.space.row_counts["alpha"] or (1,))
    roles, epochs = len(budget.space.roles()), search.search.epochs + search.second.epochs
    each = search.pretrain.epochs * images / 2 * passes + goals * epochs * images * roles
    gradient = operators * (each + EVALUATION * goals * epochs * selection.images)
    training = config.training.epochs * len(open_dataset(config.training.data, "train"))
    return MethodCosts(
        evolution=evolution,
        short=short,
        best_of=config.best_of or max(1, round(evolution / (goals * short))),
        gradient=gradient,
        training=training,
    )


class Estimate(Record):
    """What is left to do, roughly, before any of it is done.

    Attributes:
        pass_ms: a training pass of the median random network in a process with one thread, as just measured: for the crops of
            the search, and for those of the training.
        minutes: by what is done, over all seeds, for one process.
        runs: processes that do it. Each takes some seconds to start; that, reading images, and validation are not counted.
        total_minutes: of all, with `at_once` processes that do not slow each other down.
    """

    pass_ms: tuple[float, float]
    minutes: dict[str, float]
    runs: dict[str, int]
    total_minutes: float


def estimate_minutes(
    config: MethodsConfig, costs: MethodCosts, budget: LatencyBudget, *, seeds: int, methods: Sequence[Method], at_once: int
) -> Estimate:
    """How long the experiment takes, by a few training steps of the median random network.

    Raises:
        InvalidSpecError: a method needs a supernet that nothing would train.
    """
    require_supernets(config, methods)
    goals = len(config.targets_ms)
    short_ms = pass_ms(budget, config.search.pretrain.crop, config.search.pretrain.batch_size, config.search.label_stride)
    long_ms = pass_ms(budget, config.training.crop_size, config.training.batch_size, config.training.label_stride)
    passes = {
        "evolution": short_ms * costs.evolution,
        "gradient": short_ms * costs.gradient,
        "best_of": short_ms * costs.short * costs.best_of * goals,
    }
    found = {name: seeds * ms / 60e3 for name, ms in passes.items() if name in methods}
    trained = seeds * goals * (len(methods) + config.random)
    found["trainings"] = long_ms * costs.training * trained / 60e3
    found["noise"] = long_ms * costs.training * config.noise_networks * (config.noise_seeds - 1) / 60e3
    runs = {"evolution": seeds, "gradient": seeds * (1 + goals), "best_of": seeds * goals * costs.best_of}
    runs |= {"trainings": trained, "noise": config.noise_networks * (config.noise_seeds - 1)}
    return Estimate(
        pass_ms=(short_ms, long_ms),
        minutes=found,
        runs={name: runs[name] for name in found},
        total_minutes=sum(found.values()) / at_once,
    )


def pass_ms(budget: LatencyBudget, crop: tuple[int, int], batch_size: int, label_stride: int) -> float:
    """Milliseconds of a training pass of the median random network, with its loss and the optimiser's step; by one thread.

    It is the fastest of a few steps, divided by their images.
    """
    network = seeded_network(budget.median_network(), crop, auxiliary=False, seed=0).train()
    size = -(-crop[0] // label_stride), -(-crop[1] // label_stride)
    labels = torch.randint(budget.space.spec.classes, (batch_size, *size))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    images, threads = torch.rand(batch_size, 3, *crop), torch.get_num_threads()
    found = []
    torch.set_num_threads(1)
    try:
        for _ in range(1 + _TIMED):
            started = time.perf_counter()
            optimizer.zero_grad()
            hard_pixel_cross_entropy(network(images, size).combined, labels).backward()
            optimizer.step()
            found.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return 1e3 * min(found[1:]) / batch_size
