"""Is the student that a search found better than random networks that are as fast?

For each search, hence each seed: its teacher is trained, if it found one; then, under that teacher, from the same
configuration and seed, the student it found and random architectures of the same estimated latency. These are random in either
of two ways: drawn from the space as `validate` draws (`sampled`), or decoded from random logits as a search decodes its own
(`decoded`). The second are what a search would end in that had learned nothing, so that what decoding itself prefers is the
same on both sides.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack

from models.spaces.registry import create_space, read_architecture
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record
from nas_client.errors import ExperimentError
from nas_client.experiments.execution import Command, Execution, carry_out, is_finished
from nas_client.experiments.latency_matched import BASELINES, Baseline, latency_matched
from nas_client.experiments.presets import configured
from nas_client.experiments.results import TrainedNetwork, latencies_of, read_trained
from nas_client.experiments.runs import Training, training_commands
from nas_client.experiments.spread import Spread
from nas_client.runs.config import read_config
from nas_client.runs.manifest import CONFIG, require_run
from nas_client.search.config import SearchConfig
from nas_client.table import LookupTable, require_complete
from nas_client.train.config import TrainConfig

Preset = Literal["cpu", "gpu", "published"]
PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "cpu": {
        "data": {"image_size": [64, 128], "train_images": 240, "val_images": 80, "cache": True},
        "scales": [1.0],
        "label_stride": 8,
        "batch_size": 8,
        "epochs": 30,
        "optimizer": {"lr": 0.05},
        "validation": {"every": 5, "batch_size": 8, "statistics_batches": 10},
    },
    "gpu": {
        "data": {"image_size": [256, 512], "train_images": 2000, "val_images": 200},
        "workers": 8,
        "epochs": 60,
        "optimizer": {"lr": 0.02},
        "validation": {"every": 5, "batch_size": 8},
    },
    "published": {},
}
"""What each preset changes of the training that the space states. The learning rates are for SGD."""


class RandomNetworks(Record):
    """The random networks of one search and one kind.

    Attributes:
        tried: random architectures drawn until there were enough of the same latency.
        median: of their `mean_iou`.
    """

    networks: tuple[TrainedNetwork, ...]
    tried: int
    median: float


class RandomGroup(Record):
    """All that one search gave.

    Attributes:
        search: folder of the search.
        seed: the search's; the trainings' too.
        teacher: None where the space has no second role.
    """

    search: str
    seed: int
    teacher: TrainedNetwork | None
    found: TrainedNetwork
    random: Mapping[Baseline, RandomNetworks]


class BaselineScore(Record):
    """The found students against all random networks of one kind.

    Attributes:
        random: mIoU of those networks.
        gain: found less the median of its seed's random networks, over seeds.
        seeds_won: for how many seeds that is positive.
        beaten: share of random networks that their seed's found student beats.
    """

    random: Spread
    gain: Spread
    seeds_won: int
    beaten: float


class RandomResult(Record):
    """The experiment's result (`random.json`). mIoU everywhere is that after the last epoch.

    Attributes:
        tolerance: how far from the found student's the random networks' estimates may be, as a fraction.
        config: of every training, but for its seed.
        found, teacher: mIoU over seeds; no teacher's where the space has no second role.
        chosen_on_validation: whether a search chose among its alternatives on the validation split, on which networks are
            compared here. False in results of before.
    """

    table: str
    target: str
    space: str
    tolerance: float
    config: TrainConfig
    groups: tuple[RandomGroup, ...]
    found: Spread
    teacher: Spread | None
    judgements: Mapping[Baseline, BaselineScore]
    chosen_on_validation: bool = False


@dataclass(frozen=True)
class _Trial:
    """One seed's networks, by name; and for each kind of random ones, how many were drawn.

    Attributes:
        found, teacher: names of the networks that the search found; no teacher where it found none.
        chosen_on_validation: see `RandomResult`.
    """

    search: Path
    seed: int
    folder: Path
    networks: Mapping[str, ArchitectureSpec]
    tried: Mapping[Baseline, int]
    found: str
    teacher: str | None
    chosen_on_validation: bool

    def trainings(self) -> Iterator[Training]:
        """The teacher's first."""
        teacher = None if self.teacher is None else Training(self.folder / self.teacher, self.networks[self.teacher])
        for name, network in self.networks.items():
            yield Training(self.folder / name, network, None if name == self.teacher else teacher)


def compare(
    searches: Sequence[Path],
    table: LookupTable,
    folder: Path,
    config: TrainConfig,
    *,
    networks: int = 5,
    baselines: Sequence[Baseline] = tuple(BASELINES),
    tolerance: float = 0.1,
    **how: Unpack[Execution],
) -> RandomResult | None:
    """Train what is not trained yet, and compare all of it; None where it was stopped.

    Args:
        searches: folders of finished searches, each of another seed.
        table: of their search space.
        folder: gets a folder per seed and network (see `train`).
        config: of every training; its seed is the search's.
        networks: random ones per search, of each kind.
        baselines: their kinds.
        tolerance: see `RandomResult`.
        how: see `Execution`.

    Raises:
        RunFolderError: the folder, or that of a search, holds another kind of run.
        ExperimentError: a search is not finished; two have the same seed; too few random networks are of that latency; or see
            `carry_out`.
        TableMismatchError: a search was done in another space.
        MissingEntryError: the table is not complete.
    """
    require_complete(table, create_space(table.info.space))
    trials = [_trial(search, table, folder, networks, baselines, tolerance) for search in searches]
    if len({trial.seed for trial in trials}) < len(trials):
        seeds = ", ".join(f"{trial.search}: {trial.seed}" for trial in trials)
        raise ExperimentError(f"searches of the same seed say the same: {seeds}", hint="Name searches with different seeds.")

    def trainings() -> Iterator[Command]:
        for trial in trials:
            seeded = config.model_copy(update={"seed": trial.seed})
            yield from training_commands(seeded, trial.folder / CONFIG, trial.trainings())

    if not carry_out(folder, "random", table, config, [trainings], **how):
        return None
    chosen_on_validation = any(trial.chosen_on_validation for trial in trials)
    return _result(tuple(_group(trial, table) for trial in trials), table, config, tolerance, chosen_on_validation)


def preset_config(preset: Preset, table: LookupTable, path: Path | None = None, overrides: Sequence[str] = ()) -> TrainConfig:
    """The configuration of the trainings: a file's, or else the preset's, with overrides; what none of them states is as the
    table's space says. Raises InvalidSpecError; OSError.
    """
    return configured(TrainConfig, table.info.space.name, PRESETS[preset], overrides, part="training", path=path)


def _trial(
    search: Path, table: LookupTable, folder: Path, networks: int, baselines: Sequence[Baseline], tolerance: float
) -> _Trial:
    if not is_finished(search):
        raise ExperimentError(f"{search} holds no finished search", hint="Finish it with `nas-client search --resume`.")
    require_run(search, "search")
    searched = read_config(SearchConfig, search / CONFIG)
    seed = searched.seed
    space = create_space(table.info.space)
    found = space.searched_role().name
    others = [role.name for role in space.roles() if role.name != found]
    teacher = next((role for role in others if (search / f"{role}.json").exists()), None)  # an evolution finds none
    chosen = {
        role: read_architecture((search / f"{role}.json").read_bytes(), str(search / f"{role}.json"))
        for role in (teacher, found)
        if role is not None
    }
    named, tried = dict(chosen), dict[Baseline, int]()
    for baseline in baselines:
        random, tried[baseline] = latency_matched(
            chosen[found], table, networks=networks, tolerance=tolerance, seed=seed, baseline=baseline
        )
        named |= {f"{BASELINES[baseline]}{index}": network for index, network in enumerate(random)}
    chosen_on_validation = (
        searched.method == "gradient" and searched.evaluation.split == "val" and len(space.alternatives()) > 1
    )
    return _Trial(search, seed, folder / f"seed{seed}", named, tried, found, teacher, chosen_on_validation)


def _group(trial: _Trial, table: LookupTable) -> RandomGroup:
    hint = "Resume the experiment with the same searches, table, number of networks and tolerance."
    trained = {name: read_trained(trial.folder / name, network, table, hint) for name, network in trial.networks.items()}
    random = {
        baseline: tuple(network for name, network in trained.items() if name.startswith(BASELINES[baseline]))
        for baseline in trial.tried
    }
    return RandomGroup(
        search=str(trial.search),
        seed=trial.seed,
        teacher=None if trial.teacher is None else trained[trial.teacher],
        found=trained[trial.found],
        random={
            baseline: RandomNetworks(
                networks=networks, tried=trial.tried[baseline], median=statistics.median(n.mean_iou for n in networks)
            )
            for baseline, networks in random.items()
        },
    )


def _result(
    groups: tuple[RandomGroup, ...], table: LookupTable, config: TrainConfig, tolerance: float, chosen_on_validation: bool
) -> RandomResult:
    teachers = [group.teacher for group in groups if group.teacher is not None]
    return RandomResult(
        **latencies_of(table),
        tolerance=tolerance,
        config=config,
        groups=groups,
        found=Spread.of([group.found.mean_iou for group in groups]),
        teacher=Spread.of([teacher.mean_iou for teacher in teachers]) if teachers else None,
        judgements={baseline: _baseline_score(groups, baseline) for baseline in groups[0].random},
        chosen_on_validation=chosen_on_validation,
    )


def _baseline_score(groups: tuple[RandomGroup, ...], baseline: Baseline) -> BaselineScore:
    gains = [group.found.mean_iou - group.random[baseline].median for group in groups]
    pairs = [(group.found.mean_iou, other.mean_iou) for group in groups for other in group.random[baseline].networks]
    return BaselineScore(
        random=Spread.of([other for _, other in pairs]),
        gain=Spread.of(gains),
        seeds_won=sum(gain > 0 for gain in gains),
        beaten=statistics.fmean(mine > other for mine, other in pairs),
    )
