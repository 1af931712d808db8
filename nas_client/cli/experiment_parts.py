"""What the commands of `experiment` have in common: options, progress, and the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.terminal import emit, people, progress, warn
from nas_client.cli.arguments import INTERRUPTED, connect, load_table, watching

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.progress import Progress as Bar

    from models.spec.architectures import ArchitectureSpec
    from models.spec.base import Record
    from models.spec.measurements import Budget
    from nas_client.experiments.execution import Progress
    from nas_client.experiments.experiment import Experiment
    from nas_client.experiments.results import Measure
    from nas_client.table import LookupTable
    from nas_client.train.evaluation import MeasuredSpeed

Name = TypeVar("Name", bound=str)

Folder = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the experiment and its runs.")]
Seeds = Annotated[int, typer.Option(min=1, max=100, help="Number of seeds.")]
AtOnce = Annotated[
    int | None,
    typer.Option(
        "--at-once", min=1, max=64, help="Runs at a time. Several runs have one thread each. By default as many as fit."
    ),
]
MeasuringUrl = Annotated[
    str | None,
    typer.Option("--url", metavar="U", envvar="OPCLOCK_URL", help="Service that measures networks after the trainings."),
]

_OF_A_GPU = ("gpu", "published")
"""Presets whose runs have a GPU, each to itself."""


def chosen_of(option: str, names: Sequence[str] | None, known: Sequence[Name]) -> tuple[Name, ...]:
    """Those of the known names that were given, in the known order; all where none was. Raises BadParameter."""
    if unknown := set(names or ()) - set(known):
        raise typer.BadParameter(f"{option} {unknown.pop()!r} is none of {', '.join(known)}")
    return tuple(name for name in known if not names or name in names)


def table_of(source: str) -> LookupTable:
    """The table that `TableSource` names; what speaks against it is said."""
    found = load_table(source)
    warn(found.verdict, found.label())
    return found


def measuring(url: str | None, budget: Budget) -> Measure | None:
    """Measures a network at that service; None where there is none."""

    def measured(network: ArchitectureSpec) -> MeasuredSpeed | str:
        from nas_client.train.evaluation import measure_speed

        with connect(str(url)) as service, watching(f"measuring {network.label()}") as watch:
            return measure_speed(service, network, watch=watch, budget=budget)

    return None if url is None else measured


def processes(at_once: int | None, preset: str) -> int:
    """How many runs go on at a time. Two of one thread each do more together than one of two threads, where there are two
    cores.
    """
    import os

    return at_once or (1 if preset in _OF_A_GPU else min(2, os.cpu_count() or 1))


def conduct(
    experiment: Experiment[Any],
    run: Callable[..., Record | None],
    output: Path,
    *,
    preset: str,
    at_once: int | None,
    resume: bool,
    json: bool,
) -> None:
    """Carry an experiment out, write what comes of it, and print it; or say that it was stopped.

    Args:
        experiment: what is shown.
        run: gives the result, None where it was stopped; takes the folder and what `Execution` has. The folder's kind must be
            the experiment's name.
        output: the folder.
        preset: says how many runs go on at a time where `at_once` does not; see `processes`.
        at_once: runs at a time.
        resume: go on with the experiment in the folder.
        json: print the result as JSON.
    """
    from nas_client.experiments.experiment import write
    from nas_client.runs.manifest import read_manifest

    with progress() as bar:
        result = run(folder=output, at_once=processes(at_once, preset), resume=resume, progress=_watch(bar))
    if result is None:
        people().print(f"stopped; continue with --resume ({output})", markup=False)
        raise typer.Exit(INTERRUPTED)
    kind = read_manifest(output).kind
    assert kind == experiment.name, f"{experiment.name} was carried out in a folder of kind {kind}"
    write(experiment, result, output)

    def show(console: Console) -> None:
        show_rows(console, experiment.rows(result))
        console.print(experiment.words(result), markup=False)
        console.print(f"all points, figures and runs are in {output}", markup=False)

    emit(result, as_json=json, text=show)


def show_rows(console: Console, rows: Sequence[Sequence[str]]) -> None:
    """Print a table, headings first."""
    headings, *others = rows
    grid = Grid(box=None, pad_edge=False)
    for index, heading in enumerate(headings):
        grid.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for row in others:
        grid.add_row(*row)
    console.print(grid)


def _watch(bar: Bar) -> Progress:
    task = bar.add_task("runs", total=None, note="")

    def show(done: int, total: int, running: Sequence[str]) -> None:
        bar.update(task, completed=done, total=total, note="; ".join(running))

    return show
