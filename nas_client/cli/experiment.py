"""`experiment`: many searches or trainings that answer one question. What they compute with is imported when they run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spec.measurements import Budget
from models.terminal import Json, emit, people, progress, warn
from nas_client.cli.arguments import (
    INTERRUPTED,
    BudgetOption,
    ConfigFile,
    Overrides,
    Resume,
    TableSource,
    connect,
    load_table,
    watching,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.progress import Progress as Bar

    from models.spec.architectures import ArchitectureSpec
    from nas_client.experiments.execution import Progress
    from nas_client.train.evaluation import MeasuredSpeed

app = typer.Typer(help="Experiments: many runs that answer one question.", no_args_is_help=True)

Name = TypeVar("Name", bound=str)

Folder = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the experiment and its runs.")]
AtOnce = Annotated[
    int | None,
    typer.Option(
        "--at-once", min=1, max=64, help="Runs at a time. Several runs have one thread each. By default as many as fit."
    ),
]


@app.command("collapse")
def collapse(
    table: TableSource,
    output: Folder,
    preset: Annotated[Literal["cpu", "gpu"], typer.Option(help="Size of the searches.")] = "cpu",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Number of seeds.")] = 3,
    mode: Annotated[
        list[str] | None, typer.Option("--mode", metavar="M", help="naive, decoupled or none; repeatable. By default all.")
    ] = None,
    overrides: Overrides = None,
    at_once: AtOnce = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Compare naive and decoupled latency loss: does the search collapse to light operators and narrow widths?"""
    from nas_client.experiments.artifacts import collapse_rows, write_collapse
    from nas_client.experiments.collapse import MODES
    from nas_client.experiments.collapse import collapse as run

    modes = _chosen("--mode", mode, MODES)
    found = load_table(table)
    warn(found.verdict, found.label())
    with progress() as bar:
        result = run(
            found,
            output,
            preset=preset,
            seeds=seeds,
            modes=modes,
            overrides=overrides or (),
            at_once=at_once or (default_at_once() if preset == "cpu" else 1),
            resume=resume,
            progress=_watch(bar),
        )
    if result is None:
        _stopped(output)
    write_collapse(result, output)
    emit(result, as_json=json, text=lambda console: _show(console, collapse_rows(result), output))


@app.command("random")
def random(
    table: TableSource,
    search: Annotated[list[Path], typer.Option("--search", metavar="RUN", help="Folder of a finished search; one per seed.")],
    output: Folder,
    networks: Annotated[
        int, typer.Option(min=1, max=1000, help="Number of random networks for each search and each kind.")
    ] = 5,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline",
            metavar="KIND",
            help="sampled from the space, or decoded from random logits; repeatable. By default both.",
        ),
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0.001, max=1, help="Largest relative difference of their estimates.")] = 0.1,
    preset: Annotated[Literal["cpu", "gpu", "published"], typer.Option(help="Size of the trainings.")] = "cpu",
    config: ConfigFile = None,
    overrides: Overrides = None,
    at_once: AtOnce = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Compare the students of searches with random networks of the same estimated latency, all trained the same way."""
    from nas_client.experiments.artifacts import random_rows, random_sentence, write_random
    from nas_client.experiments.latency_matched import BASELINES
    from nas_client.experiments.random_networks import compare, preset_config

    baselines = _chosen("--baseline", baseline, tuple(BASELINES))
    found = load_table(table)
    warn(found.verdict, found.label())
    with progress() as bar:
        result = compare(
            search,
            found,
            output,
            preset_config(preset, found, config, overrides or ()),
            networks=networks,
            baselines=baselines,
            tolerance=tolerance,
            at_once=at_once or (default_at_once() if preset == "cpu" else 1),
            resume=resume,
            progress=_watch(bar),
        )
    if result is None:
        _stopped(output)
    write_random(result, output)
    sentence = random_sentence(result)
    emit(result, as_json=json, text=lambda console: _show(console, random_rows(result), output, sentence))


@app.command("references")
def references(
    architecture: Annotated[
        list[Path], typer.Option(metavar="A", help="JSON file with a found architecture; repeatable. The file names it.")
    ],
    output: Folder,
    reference: Annotated[
        list[str] | None,
        typer.Option("--reference", metavar="NAME", help="Network to compare with; repeatable. By default all of the space's."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Number of seeds.")] = 3,
    url: Annotated[
        str | None,
        typer.Option(metavar="U", envvar="OPCLOCK_URL", help="Service that measures each network after the trainings."),
    ] = None,
    preset: Annotated[Literal["toy", "cpu", "published"], typer.Option(help="Size of the trainings.")] = "cpu",
    config: ConfigFile = None,
    overrides: Overrides = None,
    budget: BudgetOption = Budget.NORMAL,
    at_once: AtOnce = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Compare found networks with those that their paper compares with, of the same widths, all trained the same way."""
    from models.spaces.registry import read_architecture
    from nas_client.experiments.reference_artifacts import reference_rows, references_sentence, write_references
    from nas_client.experiments.reference_networks import compare_references, preset_config

    found = {path.stem: read_architecture(path.read_bytes(), str(path)) for path in architecture}
    if len(found) < len(architecture):
        raise typer.BadParameter("--architecture: two files have one name; the name is that of the network")
    chosen = preset_config(preset, next(iter(found.values())).space, config, overrides or ())
    with progress() as bar:
        result = compare_references(
            found,
            output,
            chosen,
            references=reference,
            seeds=seeds,
            measure=None if url is None else partial(_measured, url, budget),
            at_once=at_once or (1 if preset == "published" else default_at_once()),
            resume=resume,
            progress=_watch(bar),
        )
    if result is None:
        _stopped(output)
    write_references(result, output)
    sentence = references_sentence(result)
    emit(result, as_json=json, text=lambda console: _show(console, reference_rows(result), output, sentence))


def _measured(url: str, budget: Budget, network: ArchitectureSpec) -> MeasuredSpeed | str:
    from nas_client.train.evaluation import measure_speed

    with connect(url) as service, watching(f"measuring {network.label()}") as watch:
        return measure_speed(service, network, watch=watch, budget=budget)


@app.command("attention")
def attention(
    table: TableSource,
    output: Folder,
    preset: Annotated[Literal["cpu", "gpu"], typer.Option(help="Size of the searches and trainings.")] = "cpu",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Number of seeds.")] = 3,
    overrides: Overrides = None,
    at_once: AtOnce = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Compare attention in the search, in training, in both and in neither.

    The table must be of a space with both, such as that of M-FasterSeg. --set takes search.FIELD and training.FIELD.
    """
    from nas_client.experiments.attention import attention as run
    from nas_client.experiments.attention import preset_config
    from nas_client.experiments.attention_artifacts import attention_rows, attention_sentence, write_attention

    found = load_table(table)
    warn(found.verdict, found.label())
    with progress() as bar:
        result = run(
            found,
            output,
            preset_config(preset, found, overrides or ()),
            seeds=seeds,
            at_once=at_once or (default_at_once() if preset == "cpu" else 1),
            resume=resume,
            progress=_watch(bar),
        )
    if result is None:
        _stopped(output)
    write_attention(result, output)
    sentence = attention_sentence(result)
    emit(result, as_json=json, text=lambda console: _show(console, attention_rows(result), output, sentence))


@app.command("ablation")
def ablation(
    table: TableSource,
    output: Folder,
    preset: Annotated[
        Literal["toy", "cpu", "gpu"], typer.Option(help="Size of searches and trainings; toy shows only that all runs.")
    ] = "cpu",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Number of seeds.")] = 3,
    overrides: Overrides = None,
    at_once: AtOnce = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Search and train what FasterSeg's Table 3 compares: fixed widths, one branch, a pruned teacher, with distillation and
    without.
    """
    from nas_client.experiments.ablation import ablation as run
    from nas_client.experiments.ablation_artifacts import ablation_rows, write_ablation

    found = load_table(table)
    warn(found.verdict, found.label())
    with progress() as bar:
        result = run(
            found,
            output,
            preset=preset,
            seeds=seeds,
            overrides=overrides or (),
            at_once=at_once or (1 if preset == "gpu" else default_at_once()),
            resume=resume,
            progress=_watch(bar),
        )
    if result is None:
        _stopped(output)
    write_ablation(result, output)
    emit(result, as_json=json, text=lambda console: _show(console, ablation_rows(result), output))


def _chosen(option: str, names: Sequence[str] | None, known: Sequence[Name]) -> tuple[Name, ...]:
    """Those of the known names that were given, in the known order; all where none was. Raises BadParameter."""
    if unknown := set(names or ()) - set(known):
        raise typer.BadParameter(f"{option} {unknown.pop()!r} is none of {', '.join(known)}")
    return tuple(name for name in known if not names or name in names)


def default_at_once() -> int:
    """Two runs of one thread each do more together than one run of two threads, where there are two cores."""
    import os

    return min(2, os.cpu_count() or 1)


def _watch(bar: Bar) -> Progress:
    task = bar.add_task("runs", total=None, note="")

    def show(done: int, total: int, running: Sequence[str]) -> None:
        bar.update(task, completed=done, total=total, note="; ".join(running))

    return show


def _stopped(output: Path) -> NoReturn:
    people().print(f"stopped; continue with --resume ({output})", markup=False)
    raise typer.Exit(INTERRUPTED)


def _show(console: Console, rows: Sequence[Sequence[str]], output: Path, sentence: str = "") -> None:
    headings, *others = rows
    grid = Grid(box=None, pad_edge=False)
    for index, heading in enumerate(headings):
        grid.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for row in others:
        grid.add_row(*row)
    console.print(grid)
    if sentence:
        console.print(sentence, markup=False)
    console.print(f"all points, figures and runs are in {output}", markup=False)
