"""Searches and trainings of experiments as commands, each with its files beside its folder: NAME.yaml, NAME.json, NAME.log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.spec.architectures import ArchitectureSpec
from models.spec.base import canonical_json
from nas_client.experiments.execution import Command, is_finished
from nas_client.runs.config import write_config
from nas_client.runs.manifest import is_begun
from nas_client.search.config import SearchConfig
from nas_client.train.config import TrainConfig


@dataclass(frozen=True)
class Search:
    """A search.

    Attributes:
        run: its folder.
        config: with its seed.
        table: file.
        start: the search whose weights it begins with, where there is one.
    """

    run: Path
    config: SearchConfig
    table: Path
    start: Search | None = None

    @property
    def name(self) -> str:
        """Of its command."""
        return f"seed {self.config.seed}, {self.run.name}"


@dataclass(frozen=True)
class Training:
    """A training.

    Attributes:
        run: its folder.
        network: that is trained.
        teacher: the training of the network that it learns from, where there is one.
    """

    run: Path
    network: ArchitectureSpec
    teacher: Training | None = None


def pretraining_of(config: SearchConfig) -> SearchConfig:
    """Of a search the pre-training alone, which is evaluated at its end: what several searches may start from."""
    nothing = {phase: getattr(config, phase).model_copy(update={"epochs": 0}) for phase in ("search", "second")}
    at_the_end = config.evaluation.model_copy(update={"every": max(1, config.pretrain.epochs)})
    return config.model_copy(update={**nothing, "evaluation": at_the_end})


def search_commands(searches: Iterable[Search]) -> Iterator[Command]:
    """The searches that are not finished; each waits for the one that it begins with. Their configurations are written."""
    for search in searches:
        if is_finished(search.run):
            continue
        search.run.parent.mkdir(parents=True, exist_ok=True)
        config_file = _beside(search.run, "yaml")
        write_config(search.config, config_file)
        arguments = ["search", "--table", search.table, "--config", config_file, "--output", search.run, "--resume"]
        after: tuple[str, ...] = ()
        if (start := search.start) is not None:
            arguments += ["--pretrained", start.run]
            after = () if is_finished(start.run) else (start.name,)
        yield Command(search.name, tuple(map(str, arguments)), _beside(search.run, "log"), after)


def training_commands(config: TrainConfig, config_file: Path, trainings: Iterable[Training]) -> Iterator[Command]:
    """The trainings of one seed that are not finished; each waits for its teacher's. Their networks are written.

    Args:
        config: of all, with the seed.
        config_file: gets it; all runs lie below its folder.
        trainings: teachers come before those who learn from them.
    """

    def name(training: Training) -> str:
        return ", ".join((f"seed {config.seed}", *training.run.relative_to(config_file.parent).parts))

    config_file.parent.mkdir(parents=True, exist_ok=True)
    write_config(config, config_file)
    for training in trainings:
        run, teacher = training.run, training.teacher
        if is_finished(run):
            continue
        file = _beside(run, "json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(canonical_json(training.network.model_dump(mode="json")) + "\n", encoding="utf-8")
        arguments = ["train", "--architecture", file, "--config", config_file, "--output", run]
        arguments += ["--teacher", teacher.run] if teacher is not None else []
        arguments += ["--resume"] if is_begun(run) else []
        after = (name(teacher),) if teacher is not None and not is_finished(teacher.run) else ()
        yield Command(name(training), tuple(map(str, arguments)), _beside(run, "log"), after)


def _beside(run: Path, suffix: str) -> Path:
    return run.with_name(f"{run.name}.{suffix}")
