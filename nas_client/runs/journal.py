"""What a run records while it goes on: JSON lines for programs, TensorBoard for people."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from torch.utils.tensorboard import SummaryWriter

from models.spec.base import Record, canonical_json

Line = TypeVar("Line", bound=Record)

LINES = "epochs.jsonl"
"""The file of JSON lines in a run's folder."""


class Journal:
    """Appends to the run's `epochs.jsonl` and to TensorBoard's files in `tensorboard/`.

    Args:
        folder: of the run.
        keep: how many lines of an interrupted run stay; those after them are of epochs that will be done again.
        silent: write nothing, as all processes of a run but one.
    """

    def __init__(self, folder: Path, *, keep: int = 0, silent: bool = False) -> None:
        self._path = folder / LINES
        self._silent = silent
        self._board: SummaryWriter | None = None
        if not silent:
            folder.mkdir(parents=True, exist_ok=True)
            _keep(self._path, keep)
            self._board = SummaryWriter(folder / "tensorboard")

    def write(self, record: Record) -> None:
        """Append one line."""
        if not self._silent:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(canonical_json(record.model_dump(mode="json")) + "\n")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curve of each name; `/` groups curves."""
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the files."""
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_journal(folder: Path, cls: type[Line]) -> list[Line]:
    """The lines of a run's journal; none where there is no file.

    Raises:
        InvalidSpecError: a line is damaged, or not of that class; names the file and the line.
    """
    path = folder / LINES
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [cls.parse_json(line, source=f"{path}, line {number}") for number, line in enumerate(lines, 1)]


def _keep(path: Path, lines: int) -> None:
    """Cut a file after so many lines; before a last one that was cut off, in any case. Nothing is written, so that a full disk
    costs no line.
    """
    with path.open("ab+") as file:
        file.seek(0)
        whole = [line for line in islice(file, lines) if line.endswith(b"\n")]
        file.truncate(sum(map(len, whole)))
