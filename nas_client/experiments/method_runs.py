"""The runs of the experiment on methods: searches and short trainings, then equal trainings of all that is compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.spaces.registry import read_architecture
from models.spec.architectures import ArchitectureSpec
from nas_client.experiments.collapse import PRETRAINING
from nas_client.experiments.execution import TABLE, Command
from nas_client.experiments.latency_budget import LatencyBudget
from nas_client.experiments.method_config import RANDOM, Method, MethodsConfig
from nas_client.experiments.results import read_training
from nas_client.experiments.runs import Search, Training, pretraining_of, search_commands, training_commands
from nas_client.runs.manifest import RESULT
from nas_client.search.config import SearchConfig
from nas_client.selection.outcome import SelectionResult
from nas_client.selection.run import SELECTION
from nas_client.selection.short_trainings import mean_iou_of, training_config
from nas_client.train.config import TrainConfig

_STREAMS = {RANDOM: 0, "best_of": 1, "earliest": 2}
"""Random numbers of each kind of drawn network, beside seed and target."""


@dataclass(frozen=True)
class MethodTrial:
    """One seed of the experiment.

    Attributes:
        folder: of the experiment.
        config: of the experiment, its targets stated.
        best_of: short trainings for each target.
        methods: those that are compared.
    """

    folder: Path
    seed: int
    config: MethodsConfig
    budget: LatencyBudget
    best_of: int
    methods: tuple[Method, ...]
    _known: dict[tuple[str, float], tuple[ArchitectureSpec, ...]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def targets(self) -> tuple[float, ...]:
        """In ms."""
        return self.config.targets_ms

    def run(self, name: str) -> Path:
        """The folder of a run."""
        return self.folder / f"seed{self.seed}" / name

    def searches(self) -> Iterator[Command]:
        """The searches and short trainings that are not finished."""
        if "evolution" in self.methods:
            evolution = self._search_config(method="evolution")
            yield from search_commands([Search(self.run("evolution"), evolution, self.folder / TABLE)])
        if "gradient" in self.methods:
            yield from search_commands(self._gradient_searches())
        if "best_of" in self.methods:
            for target_ms in self.targets:
                networks = dict(zip(self._short_names(target_ms), self._drawn("best_of", target_ms), strict=True))
                yield from self._trainings(networks, self._short_config(), "short")

    def networks(self) -> dict[str, ArchitectureSpec]:
        """What is compared, by the name of its training: for each target the methods' networks, and random ones."""
        found: dict[str, ArchitectureSpec] = {}
        for target_ms in self.targets:
            for method in self.methods:
                found[self.name(method, target_ms)] = self._found(method, target_ms)
            found.update(zip(self.random_names(target_ms), self._drawn(RANDOM, target_ms), strict=True))
        return found

    def trainings(self) -> Iterator[Command]:
        """The trainings of what is compared that are not finished."""
        config = self.config.training.model_copy(update={"seed": self.seed})
        yield from self._trainings(self.networks(), config, "training")

    def random_names(self, target_ms: float) -> list[str]:
        """Names of the trainings of a target's random networks."""
        return [f"{_label(target_ms)}-{RANDOM}{index}" for index in range(self.config.random)]

    def name(self, method: Method, target_ms: float) -> str:
        """The name of the training of the network that a method found."""
        return f"{_label(target_ms)}-{method}"

    def noise(self) -> dict[str, ArchitectureSpec]:
        """The networks whose training noise is taken: the first random ones of the targets, in turn."""
        networks = self.networks()
        names = [name for several in zip(*map(self.random_names, self.targets), strict=True) for name in several]
        return {name: networks[name] for name in names[: self.config.noise_networks]}

    def noise_trainings(self) -> Iterator[Command]:
        """Their further trainings, with other seeds than this, that are not finished."""
        for other in self.noise_seeds():
            networks = {f"noise/{name}-seed{other}": network for name, network in self.noise().items()}
            yield from self._trainings(networks, self.config.training.model_copy(update={"seed": other}), f"noise{other}")

    def noise_seeds(self) -> range:
        """Seeds of the further trainings; the first of all is that of the comparison."""
        return range(self.seed + 1, self.seed + self.config.noise_seeds)

    def _search_config(self, **changes: object) -> SearchConfig:
        config = self.config.search.model_copy(update={"seed": self.seed, **changes})
        if config.method == "evolution":
            config = config.model_copy(
                update={"selection": config.selection.model_copy(update={"latency_ms": self.targets, "front": False})}
            )
        return config

    def _gradient_searches(self) -> Iterator[Search]:
        """The pre-training, and each target's search from there."""
        config = self._search_config(method="gradient")
        # what is compared is judged on the validation split
        apart = config.evaluation.model_copy(update={"split": "selection"})
        config = config.model_copy(update={"evaluation": apart})
        table = self.folder / TABLE
        pretraining = Search(self.run(PRETRAINING), pretraining_of(config), table)
        yield pretraining
        for target_ms in self.targets:
            latency = config.latency.model_copy(update={"target_ms": target_ms})
            run = self.run(f"gradient-{_label(target_ms)}")
            yield Search(run, config.model_copy(update={"latency": latency}), table, pretraining)

    def _trainings(self, networks: Mapping[str, ArchitectureSpec], config: TrainConfig, config_name: str) -> Iterator[Command]:
        """Those that are not finished, of networks by the names of their folders."""
        trainings = [Training(self.run(name), network) for name, network in networks.items()]
        return training_commands(config, self.run(f"{config_name}.yaml"), trainings)

    def _short_names(self, target_ms: float) -> list[str]:
        """Names of the short trainings of a target."""
        return [f"short/{_label(target_ms)}-{index}" for index in range(self.best_of)]

    def _short_config(self) -> TrainConfig:
        short = training_config(self.config.search)
        return short.model_copy(update={"seed": self.seed, "held_out": self.config.search.selection.images})

    def _drawn(self, kind: str, target_ms: float) -> tuple[ArchitectureSpec, ...]:
        """Random networks are never faster than the target, and what competes with them never slower."""
        if (known := self._known.get((kind, target_ms))) is not None:
            return known
        reach_ms = self.budget.width_ms(target_ms, self.config.tolerance)
        rng = np.random.default_rng([self.seed, self.targets.index(target_ms), _STREAMS[kind]])
        range_ms = (target_ms, target_ms + reach_ms) if kind == RANDOM else (target_ms - reach_ms, target_ms)
        count = {RANDOM: self.config.random, "best_of": self.best_of}.get(kind, 1)
        found = self.budget.draw(range_ms, count, rng, earliest=kind == "earliest")
        self._known[kind, target_ms] = found
        return found

    def _found(self, method: Method, target_ms: float) -> ArchitectureSpec:
        if method == "earliest":
            return self._drawn("earliest", target_ms)[0]
        if method == "best_of":
            networks = self._drawn("best_of", target_ms)
            images = self.config.search.selection.images
            named = zip(self._short_names(target_ms), networks, strict=True)
            scores = [_score(self.run(name), network, images) for name, network in named]
            return networks[int(np.argmax(scores))]
        if method == "evolution":
            path = self.run("evolution") / SELECTION / RESULT
            chosen = SelectionResult.parse_json(path.read_bytes(), source=str(path)).chosen
            return chosen[f"{target_ms:g} ms"].architecture
        path = self.run(f"gradient-{_label(target_ms)}") / f"{self.budget.space.searched_role().name}.json"
        return read_architecture(path.read_bytes(), str(path))


def _label(target_ms: float) -> str:
    return f"{target_ms:g}ms"


def _score(run: Path, network: ArchitectureSpec, images: int) -> float:
    """The mIoU of a short training on the images that were held out, so many."""
    hint = "Resume the experiment with the same table and configuration, or name another folder."
    return mean_iou_of(read_training(run, network, hint), run, images=images)
