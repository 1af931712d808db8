"""What a run's folder holds, found by the files that commands write. A part that is absent is no error; a damaged one is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from models.spec.table_files import read_table
from nas_client.errors import ReportError
from nas_client.runs.journal import read_journal
from nas_client.search.epochs import SearchEpoch
from nas_client.table import LookupTable
from nas_client.validation.judge import Validation
from nas_client.validation.report import FIGURE, VALIDATION

PARAMETERS = "parameters-student.json"
"""What only a search writes."""

CONFIG = "config.yaml"
_NOT_LOOKED_INTO = frozenset({"checkpoints", "tensorboard"})
_TABLE_SUFFIXES = frozenset({".arrow", ".parquet"})


@dataclass(frozen=True)
class SearchRun:
    """A search: its epochs so far, and its configuration as written."""

    name: str
    epochs: list[SearchEpoch]
    config: str | None


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
    tables: dict[str, LookupTable] = field(default_factory=dict)
    validations: list[ValidationFiles] = field(default_factory=list)


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
    if not (run.searches or run.validations or run.tables):
        raise ReportError(
            f"{path}: nothing to report on: no search, training, evaluation, validation, experiment or table is in it",
            hint="Name the folder that `nas-client search`, or a run of several commands, wrote into.",
        )
    return run


def _folders(path: Path) -> Iterator[Path]:
    """The folder and those below, outer ones first, in the order of their names."""
    yield path
    for inner in sorted(path.iterdir()):
        if inner.is_dir() and inner.name not in _NOT_LOOKED_INTO:
            yield from _folders(inner)


def _read_folder(run: RunFolder, folder: Path) -> None:
    name = str(folder.relative_to(run.path))
    if (folder / PARAMETERS).exists():
        run.searches.append(SearchRun(name, read_journal(folder, SearchEpoch), _text(folder / CONFIG)))
    if (folder / VALIDATION).exists():
        validation = Validation.parse_json((folder / VALIDATION).read_bytes(), source=str(folder / VALIDATION))
        figure = (folder / FIGURE).with_suffix(".png")
        run.validations.append(ValidationFiles(name, validation, figure if figure.exists() else None))
    for file in sorted(folder.iterdir()):
        if file.suffix in _TABLE_SUFFIXES:
            run.tables[str(file.relative_to(run.path))] = LookupTable(read_table(file))


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
