"""What an experiment states of itself, for its command, its files and its part of a report.

An experiment has a configuration (`presets`), runs that are commands of `nas-client` (`runs`), which `execution` carries out in
its folder, and a result made of how they ended (`results`). What is shown of that result is one `Experiment`; `registry` lists
them all.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Generic, TypeVar

from matplotlib.figure import Figure

from models.spec.base import Record
from nas_client.plotting import save_pair
from nas_client.runs.manifest import Kind

Result = TypeVar("Result", bound=Record)

Rows = Sequence[Sequence[str]]
"""Headings first."""


@dataclass(frozen=True)
class Plot(Generic[Result]):
    """A figure of the result.

    Attributes:
        name: of its files, without suffix.
        draw: makes it, in the client's style.
        caption: under it, in a report.
    """

    name: str
    draw: Callable[[Result], Figure]
    caption: str


@dataclass(frozen=True)
class Points(Generic[Result]):
    """Everything that the result is made of, row by row. A report shows it folded.

    Attributes:
        rows: the table.
        labels: how many columns stand before those of numbers.
        caption: over it, in a report.
        in_file: whether it is written as `NAME.csv`, too.
    """

    rows: Callable[[Result], Rows]
    labels: int = 2
    caption: str = "All networks."
    in_file: bool = False


@dataclass(frozen=True)
class Experiment(Generic[Result]):
    """An experiment, as those see it who show what came out.

    Attributes:
        name: of its command, of its folder's kind, and of `NAME.json` and `NAME.md`.
        title: of its part of a report.
        result: what `NAME.json` holds.
        words: what was done, or the answer, in sentences.
        rows: the table that the command prints, and of `NAME.md`.
        caption: of that table in a report.
        plots: the figures.
        points: every point, where there are more than the rows say.
    """

    name: Kind
    title: str
    result: type[Result]
    words: Callable[[Result], str]
    rows: Callable[[Result], Rows]
    caption: str
    plots: tuple[Plot[Result], ...]
    points: Points[Result] | None = None

    def file(self, folder: Path, suffix: str = "json") -> Path:
        """The file of that suffix in the experiment's folder; by default that of its result."""
        return folder / f"{self.name}.{suffix}"


def write(experiment: Experiment[Result], result: Result, folder: Path) -> None:
    """Write the result as JSON, its rows in Markdown, the figures as PNG and SVG, and the points where they have a file.

    Raises:
        OSError: the folder cannot be written.
    """
    experiment.file(folder).write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    experiment.file(folder, "md").write_text(markdown(experiment.rows(result)), encoding="utf-8")
    if experiment.points is not None and experiment.points.in_file:
        text = StringIO()
        csv.writer(text, lineterminator="\n").writerows(experiment.points.rows(result))
        experiment.file(folder, "csv").write_text(text.getvalue(), encoding="utf-8")
    for plot in experiment.plots:
        save_pair(plot.draw(result), folder / plot.name)


def markdown(rows: Rows) -> str:
    """A table; a `|` within a cell is escaped."""
    headings, *others = ([cell.replace("|", r"\|") for cell in row] for row in rows)
    lines = [headings, ["---"] * len(headings), *others]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
