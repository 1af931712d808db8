"""Do searches find better networks than chance does, at equal latency and equal training?

For each seed and target latency every method gives a network: a search by evolution, a search by gradients, the best of short
trainings that cost as much as the evolution, and a random network that downsamples as early as any. They and random networks
of the same latency are trained alike. Differences are paired by seed, and stand beside the noise of training itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Unpack

from models.spaces.base import SearchSpace
from models.spec.base import Record
from nas_client.experiments.execution import Execution, carry_out
from nas_client.experiments.latency_budget import LatencyBudget
from nas_client.experiments.method_config import METHODS, RANDOM, Method, MethodsConfig, Preset, require_supernets
from nas_client.experiments.method_costs import MethodCosts
from nas_client.experiments.method_runs import MethodTrial
from nas_client.experiments.paired import PairedDifference, TrainingNoise
from nas_client.experiments.results import TRAIN_AGAIN, TrainedNetwork, latencies_of, read_trained
from nas_client.experiments.spread import Spread
from nas_client.table import LookupTable

BASELINES: tuple[str, ...] = (RANDOM, "best_of", "earliest")
"""What the methods are compared with: the median of a seed's random networks, and two of the methods."""


class MethodPoint(Record):
    """One network after its training.

    Attributes:
        method: that found it, or `random`.
        target_ms: at which it is compared.
        met: whether its estimate is at most that of the slowest random network allowed; where not, it is compared with nothing.
    """

    seed: int
    target_ms: float
    method: str
    network: TrainedNetwork
    met: bool


class MethodDifference(Record):
    """A method against a baseline.

    Attributes:
        method, baseline: names; `random` is the median of a seed's random networks.
        target_ms: None for the mean over targets.
        seeds: that are compared: those whose network met the target; of the mean, all targets.
        missed: how many seeds are left out, as a network was slower than the target allows.
        difference: of mIoU, over those seeds; None where there is none.
    """

    method: Method
    baseline: str
    target_ms: float | None
    seeds: tuple[int, ...]
    missed: int
    difference: PairedDifference | None


class MethodsResult(Record):
    """The experiment's result (`methods.json`). mIoU everywhere is that after the last epoch, on the validation split.

    Attributes:
        fixed_ms: latency that all networks have in common.
        budget_share: share of the median random network's latency beyond that.
        costs: of each seed, in training passes.
        points: every network that was compared.
        noise: of training, on random networks of the first seed.
        scores: mIoU by method and over seeds and targets; `random` is that of all random networks.
        differences: every method against every baseline, for each target and over all.
    """

    table: str
    target: str
    space: str
    preset: Preset
    seeds: tuple[int, ...]
    config: MethodsConfig
    fixed_ms: float
    budget_share: float
    costs: MethodCosts
    points: tuple[MethodPoint, ...]
    noise: TrainingNoise
    scores: Mapping[str, Spread]
    differences: tuple[MethodDifference, ...]


def methods_of(space: SearchSpace) -> tuple[Method, ...]:
    """The methods that a space has: all, but `earliest` where its paths do not say where networks downsample."""
    says = all(space.earliest_paths(alternative) is not None for alternative in space.alternatives())
    return METHODS if says else tuple(method for method in METHODS if method != "earliest")


def compare_methods(
    table: LookupTable,
    folder: Path,
    config: MethodsConfig,
    costs: MethodCosts,
    *,
    budget: LatencyBudget,
    preset: Preset = "cpu",
    seeds: int = 5,
    methods: Sequence[Method] = METHODS,
    **how: Unpack[Execution],
) -> MethodsResult | None:
    """Run what is not done yet, and compare all of it; None where it was stopped.

    Args:
        table: of the search space, complete.
        folder: gets a folder per seed, with the runs.
        config: of `preset_config`.
        costs: of `method_costs`; they give the number of short trainings.
        budget: of the table.
        preset: that the configuration comes from.
        seeds: how many; 0, 1, ….
        methods: those that are compared.
        how: see `Execution`.

    Raises:
        RunFolderError: see `carry_out`.
        ExperimentError: too few networks are of a target's latency; the space does not say which networks downsample earliest;
            or see `carry_out`.
        InvalidSpecError: a method needs a supernet that nothing would train.
        DatasetError: no held-out image of the short trainings has a label.
        MissingEntryError: the table is not complete.
    """
    require_supernets(config, methods)
    trials = [MethodTrial(folder, seed, config, budget, costs.best_of, tuple(methods)) for seed in range(seeds)]
    phases = (
        lambda: chain(*(trial.searches() for trial in trials)),
        lambda: chain(*(trial.trainings() for trial in trials), trials[0].noise_trainings()),
    )
    if not carry_out(folder, "methods", table, config, phases, **how):
        return None
    points = tuple(point for trial in trials for point in _points(trial, table))
    return MethodsResult(
        **latencies_of(table),
        preset=preset,
        seeds=tuple(range(seeds)),
        config=config,
        fixed_ms=budget.fixed_ms,
        budget_share=budget.share,
        costs=costs,
        points=points,
        noise=_noise(trials[0], table),
        scores={
            name: Spread.of([point.network.mean_iou for point in points if point.method == name]) for name in (*methods, RANDOM)
        },
        differences=tuple(differences(points, methods, config.targets_ms)),
    )


def differences(
    points: Sequence[MethodPoint], methods: Sequence[Method], targets_ms: Sequence[float]
) -> Iterator[MethodDifference]:
    """Every method against every baseline that was trained: over all targets first, then for each where there are several.

    A seed counts where the networks of both meet the target; over all targets, where they meet every one of them.
    """
    seeds = sorted({point.seed for point in points})
    scores: dict[tuple[str, float, int], float | None] = {}
    for target_ms in targets_ms:
        for seed in seeds:
            here = [point for point in points if (point.target_ms, point.seed) == (target_ms, seed)]
            random = [point.network.mean_iou for point in here if point.method == RANDOM]
            scores[RANDOM, target_ms, seed] = statistics.median(random)
            for point in here:
                if point.method != RANDOM:
                    scores[point.method, target_ms, seed] = point.network.mean_iou if point.met else None
    of: list[tuple[float | None, Sequence[float]]] = [(None, targets_ms)]
    of += [(target_ms, (target_ms,)) for target_ms in targets_ms] if len(targets_ms) > 1 else []
    for method in methods:
        for baseline in BASELINES:
            if baseline == method or baseline not in (*methods, RANDOM):
                continue
            for shown, several in of:
                paired = {seed: _gain(scores, method, baseline, several, seed) for seed in seeds}
                found = {seed: gain for seed, gain in paired.items() if gain is not None}
                yield MethodDifference(
                    method=method,
                    baseline=baseline,
                    target_ms=shown,
                    seeds=tuple(found),
                    missed=len(seeds) - len(found),
                    difference=PairedDifference.of(list(found.values())) if found else None,
                )


def _gain(
    scores: Mapping[tuple[str, float, int], float | None], method: str, baseline: str, targets_ms: Sequence[float], seed: int
) -> float | None:
    gains = []
    for target_ms in targets_ms:
        mine, other = scores[method, target_ms, seed], scores[baseline, target_ms, seed]
        if mine is None or other is None:
            return None
        gains.append(mine - other)
    return statistics.fmean(gains)


def _points(trial: MethodTrial, table: LookupTable) -> Iterator[MethodPoint]:
    networks = trial.networks()
    for target_ms in trial.targets:
        slowest_ms = target_ms + trial.budget.width_ms(target_ms, trial.config.tolerance)
        named = [(method, trial.name(method, target_ms)) for method in trial.methods]
        for method, name in (*named, *((RANDOM, name) for name in trial.random_names(target_ms))):
            network = read_trained(trial.run(name), networks[name], table, TRAIN_AGAIN)
            met = network.estimate_ms <= slowest_ms * (1 + 1e-9)  # sums of floats in another order
            yield MethodPoint(seed=trial.seed, target_ms=target_ms, method=method, network=network, met=met)


def _noise(trial: MethodTrial, table: LookupTable) -> TrainingNoise:
    return TrainingNoise.of(
        [
            [
                read_trained(trial.run(run), network, table, TRAIN_AGAIN).mean_iou
                for run in (name, *(f"noise/{name}-seed{seed}" for seed in trial.noise_seeds()))
            ]
            for name, network in trial.noise().items()
        ]
    )
