"""What a report is about: the runs in a folder and those below, each read as its `run.json` says, and tables.

A part that is absent is no error; a damaged one is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record
from models.spec.table_files import read_table
from nas_client.errors import ReportError, RunFolderError
from nas_client.experiments.execution import CONFIG as EXPERIMENT
from nas_client.experiments.experiment import Experiment
from nas_client.experiments.registry import EXPERIMENTS
from nas_client.runs.checkpoints import Checkpoints
from nas_client.runs.journal import LINES, read_journal
from nas_client.runs.manifest import CONFIG, MISSING_HINT, RESULT, RUN, Kind, is_begun, read_manifest
from nas_client.search.epochs import SearchEpoch
from nas_client.search.outcome import SearchResult
from nas_client.selection.candidates import CANDIDATES, Candidate, read_candidates
from nas_client.selection.outcome import SelectionResult
from nas_client.table import LookupTable
from nas_client.train.evaluation import Evaluation
from nas_client.train.evaluation_files import EVALUATION, PREDICTIONS
from nas_client.train.folder import EpochRecord, TrainResult, load_trained, read_architecture
from nas_client.train.weights import weights_digest
from nas_client.validation.report import FIGURE, VALIDATION
from nas_client.validation.scoring import Validation

Read = TypeVar("Read", bound=Record)

_NOT_LOOKED_INTO = frozenset({"checkpoints", "tensorboard"})
_WITH_RUNS: frozenset[Kind] = frozenset({"selection", *(experiment.name for experiment in EXPERIMENTS)})
"""Kinds whose folder holds runs of their own."""
_TABLE_SUFFIXES = frozenset({".arrow", ".parquet"})


@dataclass(frozen=True)
class SearchRun:
    """A search: its epochs so far, its configuration as written, and how it ended where it has."""

    name: str
    epochs: list[SearchEpoch]
    config: str
    result: SearchResult | None


@dataclass(frozen=True)
class SelectionRun:
    """A selection: its candidates so far, its configuration as written, and how it ended where it has."""

    name: str
    candidates: list[Candidate]
    config: str
    result: SelectionResult | None


@dataclass(frozen=True)
class TrainingRun:
    """A training: its folder, its network, its epochs so far, its configuration as written, and how it ended where it has."""

    name: str
    folder: Path
    architecture: ArchitectureSpec
    epochs: list[EpochRecord]
    config: str
    result: TrainResult | None

    def weights_digest(self, weights: str) -> str | None:
        """Names the weights that the training kept as `best` or `final`; None where they are not there.

        Raises:
            CheckpointError: they are damaged.
        """
        if not Checkpoints(self.folder).path(weights).exists():
            return None
        return weights_digest(load_trained(self.folder, weights).weights)


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
    selections: list[SelectionRun] = field(default_factory=list)
    trainings: list[TrainingRun] = field(default_factory=list)
    evaluations: list[EvaluationFiles] = field(default_factory=list)
    validations: list[ValidationFiles] = field(default_factory=list)
    experiments: dict[Kind, list[Record]] = field(default_factory=dict)
    tables: dict[str, LookupTable] = field(default_factory=dict)


def read_run(path: Path) -> RunFolder:
    """Read all runs and tables in a folder and the folders below.

    Raises:
        ReportError: there is nothing to report on.
        RunFolderError: a folder holds a run, but does not say which, or says so in another format.
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
    if is_begun(path) and read_manifest(path).kind in _WITH_RUNS:
        return  # its runs are part of its result
    for inner in sorted(path.iterdir()):
        if inner.is_dir() and inner.name not in _NOT_LOOKED_INTO:
            yield from _folders(inner)


def _read_folder(run: RunFolder, folder: Path) -> None:
    if is_begun(folder):
        _READERS[read_manifest(folder).kind](run, folder, str(folder.relative_to(run.path)))
    else:
        _require_no_run(folder)
    for file in sorted(folder.iterdir()):
        if file.suffix in _TABLE_SUFFIXES:
            run.tables[str(file.relative_to(run.path))] = LookupTable(read_table(file))


def _require_no_run(folder: Path) -> None:
    """Raises RunFolderError for a folder that was written before folders said what they are."""
    for name in (LINES, EXPERIMENT, EVALUATION, VALIDATION):
        if (folder / name).exists():
            raise RunFolderError(f"{folder} has {name}, but no {RUN} that says what it is", hint=MISSING_HINT)


def _read_search(run: RunFolder, folder: Path, name: str) -> None:
    result = _record(folder / RESULT, SearchResult)
    run.searches.append(SearchRun(name, read_journal(folder, SearchEpoch), _config(folder), result))


def _read_selection(run: RunFolder, folder: Path, name: str) -> None:
    candidates, result = read_candidates(folder / CANDIDATES), _record(folder / RESULT, SelectionResult)
    run.selections.append(SelectionRun(name, candidates, _config(folder), result))


def _read_training(run: RunFolder, folder: Path, name: str) -> None:
    epochs, result = read_journal(folder, EpochRecord), _record(folder / RESULT, TrainResult)
    run.trainings.append(TrainingRun(name, folder, read_architecture(folder), epochs, _config(folder), result))


def _read_evaluation(run: RunFolder, folder: Path, name: str) -> None:
    if (evaluation := _record(folder / EVALUATION, Evaluation)) is not None:
        run.evaluations.append(EvaluationFiles(name, evaluation, _existing(folder / PREDICTIONS)))


def _read_validation(run: RunFolder, folder: Path, name: str) -> None:
    if (validation := _record(folder / VALIDATION, Validation)) is not None:
        run.validations.append(ValidationFiles(name, validation, _existing((folder / FIGURE).with_suffix(".png"))))


def _read_experiment(experiment: Experiment[Any], run: RunFolder, folder: Path, _name: str) -> None:
    if (result := _record(experiment.file(folder), experiment.result)) is not None:
        run.experiments.setdefault(experiment.name, []).append(result)


_READERS: Mapping[Kind, Callable[[RunFolder, Path, str], None]] = {
    "search": _read_search,
    "selection": _read_selection,
    "training": _read_training,
    "evaluation": _read_evaluation,
    "validation": _read_validation,
    **{experiment.name: partial(_read_experiment, experiment) for experiment in EXPERIMENTS},
}
"""By the kind of run, what adds it to the report. A command that has not ended may have written nothing to add."""


def _config(folder: Path) -> str:
    return (folder / CONFIG).read_text(encoding="utf-8")


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _record(path: Path, cls: type[Read]) -> Read | None:
    return cls.parse_json(path.read_bytes(), source=str(path)) if path.exists() else None
