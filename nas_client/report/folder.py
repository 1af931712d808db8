"""What a run's folder holds, found by the files that commands write. A part that is absent is no error; a damaged one is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record
from models.spec.table_files import read_table
from nas_client.errors import ReportError
from nas_client.experiments.collapse import COLLAPSE, CollapseResult
from nas_client.experiments.execution import CONFIG as EXPERIMENT
from nas_client.experiments.random_networks import RANDOM, RandomResult
from nas_client.runs.files import CONFIG, RESULT
from nas_client.runs.journal import read_journal
from nas_client.search.epochs import SearchEpoch
from nas_client.search.outcome import SearchResult
from nas_client.table import LookupTable
from nas_client.train.evaluation import Evaluation
from nas_client.train.evaluation_files import EVALUATION, PREDICTIONS
from nas_client.train.folder import ARCHITECTURE, EpochRecord, TrainResult, read_architecture
from nas_client.validation.report import FIGURE, VALIDATION
from nas_client.validation.scoring import Validation

Read = TypeVar("Read", bound=Record)

_NOT_LOOKED_INTO = frozenset({"checkpoints", "tensorboard"})
_TABLE_SUFFIXES = frozenset({".arrow", ".parquet"})


@dataclass(frozen=True)
class SearchRun:
    """A search: its epochs so far, its configuration as written, and how it ended where it has."""

    name: str
    epochs: list[SearchEpoch]
    config: str
    result: SearchResult | None


@dataclass(frozen=True)
class TrainingRun:
    """A training: its network, its epochs so far, its configuration as written, and how it ended where it has."""

    name: str
    architecture: ArchitectureSpec
    epochs: list[EpochRecord]
    config: str
    result: TrainResult | None


@dataclass(frozen=True)
class EvaluationFiles:
    """An evaluation, and the picture of its predictions where there is one."""

    name: str
    evaluation: Evaluation
    pictures: Path | None


@dataclass(frozen=True)
class ValidationFiles:
    """A validation, and the figure of its points where there is one."""

    name: str
    validation: Validation
    figure: Path | None


@dataclass(frozen=True)
class RunFolder:
    """The parts of a run, in the order of their names, which are paths within the folder."""

    path: Path
    searches: list[SearchRun] = field(default_factory=list)
    trainings: list[TrainingRun] = field(default_factory=list)
    evaluations: list[EvaluationFiles] = field(default_factory=list)
    validations: list[ValidationFiles] = field(default_factory=list)
    collapses: dict[str, CollapseResult] = field(default_factory=dict)
    comparisons: dict[str, RandomResult] = field(default_factory=dict)
    tables: dict[str, LookupTable] = field(default_factory=dict)


def read_run(path: Path) -> RunFolder:
    """Everything that is in a run's folder and the folders below.

    Raises:
        ReportError: nothing is.
        InvalidSpecError, TableFileError: a file is damaged; names it.
        OSError: the folder cannot be read.
    """
    run = RunFolder(path)
    for folder in _folders(path):
        _read_folder(run, folder)
    if not any(getattr(run, part.name) for part in fields(run) if part.name != "path"):
        raise ReportError(
            f"{path}: nothing to report on: no search, training, evaluation, validation, experiment or table is in it",
            hint="Name the folder that `nas-client search`, or a run of several commands, wrote into.",
        )
    return run


def _folders(path: Path) -> Iterator[Path]:
    """The folder and those below, outer ones first, in the order of their names."""
    yield path
    if (path / EXPERIMENT).exists():
        return  # its runs are part of its result
    for inner in sorted(path.iterdir()):
        if inner.is_dir() and inner.name not in _NOT_LOOKED_INTO:
            yield from _folders(inner)


def _read_folder(run: RunFolder, folder: Path) -> None:
    name = str(folder.relative_to(run.path))
    config = _config(folder)
    if "pretrain" in config:
        result = _record(folder / RESULT, SearchResult)
        run.searches.append(SearchRun(name, read_journal(folder, SearchEpoch), _dumped(config), result))
    if "losses" in config and (folder / ARCHITECTURE).exists():
        architecture = read_architecture(folder)
        epochs, ended = read_journal(folder, EpochRecord), _record(folder / RESULT, TrainResult)
        run.trainings.append(TrainingRun(name, architecture, epochs, _dumped(config), ended))
    evaluation = _record(folder / EVALUATION, Evaluation)
    if evaluation is not None:
        run.evaluations.append(EvaluationFiles(name, evaluation, _existing(folder / PREDICTIONS)))
    collapsed, compared = _record(folder / COLLAPSE, CollapseResult), _record(folder / RANDOM, RandomResult)
    run.collapses.update({} if collapsed is None else {name: collapsed})
    run.comparisons.update({} if compared is None else {name: compared})
    validation = _record(folder / VALIDATION, Validation)
    if validation is not None:
        run.validations.append(ValidationFiles(name, validation, _existing((folder / FIGURE).with_suffix(".png"))))
    for file in sorted(folder.iterdir()):
        if file.suffix in _TABLE_SUFFIXES:
            run.tables[str(file.relative_to(run.path))] = LookupTable(read_table(file))


def _config(folder: Path) -> dict[str, Any]:
    """The fields of its configuration; none where there is no such file. They tell what kind of run it is."""
    path = folder / CONFIG
    if not path.exists():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ReportError(f"{path}: not YAML: {error}", hint="Restore it as the run wrote it.") from error
    return config if isinstance(config, dict) else {}


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _dumped(config: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(config, sort_keys=False)
    return text


def _record(path: Path, cls: type[Read]) -> Read | None:
    return cls.parse_json(path.read_bytes(), source=str(path)) if path.exists() else None
