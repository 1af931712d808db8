"""What the commands of `experiment` have in common: options, progress, and the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.terminal import people
from nas_client.cli.arguments import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.progress import Progress as Bar

    from nas_client.experiments.execution import Progress

Name = TypeVar("Name", bound=str)

Folder = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the experiment and its runs.")]
AtOnce = Annotated[
    int | None,
    typer.Option(
        "--at-once", min=1, max=64, help="Runs at a time. Several runs have one thread each. By default as many as fit."
    ),
]


def chosen_of(option: str, names: Sequence[str] | None, known: Sequence[Name]) -> tuple[Name, ...]:
    """Those of the known names that were given, in the known order; all where none was. Raises BadParameter."""
    if unknown := set(names or ()) - set(known):
        raise typer.BadParameter(f"{option} {unknown.pop()!r} is none of {', '.join(known)}")
    return tuple(name for name in known if not names or name in names)


def default_at_once() -> int:
    """Two runs of one thread each do more together than one run of two threads, where there are two cores."""
    import os

    return min(2, os.cpu_count() or 1)


def watch(bar: Bar) -> Progress:
    task = bar.add_task("runs", total=None, note="")

    def show(done: int, total: int, running: Sequence[str]) -> None:
        bar.update(task, completed=done, total=total, note="; ".join(running))

    return show


def stopped(output: Path) -> NoReturn:
    people().print(f"stopped; continue with --resume ({output})", markup=False)
    raise typer.Exit(INTERRUPTED)


def show(console: Console, rows: Sequence[Sequence[str]], output: Path, sentence: str = "") -> None:
    show_rows(console, rows)
    if sentence:
        console.print(sentence, markup=False)
    console.print(f"all points, figures and runs are in {output}", markup=False)


def show_rows(console: Console, rows: Sequence[Sequence[str]]) -> None:
    headings, *others = rows
    grid = Grid(box=None, pad_edge=False)
    for index, heading in enumerate(headings):
        grid.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for row in others:
        grid.add_row(*row)
    console.print(grid)
