"""`select`: discrete networks from the supernet of a finished search. Torch is imported when it runs: that takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.terminal import Json, emit, people, progress, warn
from nas_client.cli.arguments import (
    INTERRUPTED,
    Front,
    LatencyTargets,
    Overrides,
    Resume,
    RunFolder,
    TableSource,
    load_table,
    say,
    selection_overrides,
)

if TYPE_CHECKING:
    from nas_client.selection.outcome import SelectionResult


def select(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished search, of either method.")],
    table: TableSource,
    output: RunFolder,
    latency_ms: LatencyTargets = None,
    front: Front = False,
    rerank: Annotated[
        bool | None,
        typer.Option(
            "--rerank/--no-rerank",
            help="Whether the best candidates are trained shortly. By default unless the search has a selection already.",
        ),
    ] = None,
    overrides: Overrides = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Select networks from a trained supernet by evolution, under the latencies of any table of its search space.

    Another device's table needs no training: what candidates are worth within the supernet is known. SIGTERM or Ctrl-C ends the
    selection after the current candidate or training step. --resume continues from there.
    """
    from nas_client.runs.manifest import CONFIG
    from nas_client.runs.processes import Processes
    from nas_client.search.config import SearchConfig
    from nas_client.selection.inputs import selection_config
    from nas_client.selection.run import select as run_selection

    stated = selection_overrides(overrides, latency_ms, front)
    config: SearchConfig
    if resume and not stated and (output / CONFIG).exists():
        from nas_client.runs.config import read_config

        config = read_config(SearchConfig, output / CONFIG)
    else:
        config = selection_config(run, stated)
    found = load_table(table)
    with Processes() as processes, progress() as bar:
        main = processes.is_main
        if main:
            warn(found.verdict, found.label())
        task = bar.add_task("", total=None, note="", visible=main)

        def watch(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        result = run_selection(run, found, output, config, rerank=rerank, resume=resume, processes=processes, watch=watch)
    if main:
        emit(result, as_json=json, text=lambda console: show_selection(console, result, output))
        for warning in result.warnings:
            say(warning)
    if not result.finished:
        if main:
            people().print(f"stopped; the same command with --resume continues ({output})", markup=False)
        raise typer.Exit(INTERRUPTED)


def show_selection(console: Console, result: SelectionResult, output: Path) -> None:
    """The chosen networks, and how they were found."""
    grid = Grid(box=None, pad_edge=False)
    for heading in ("goal", "network"):
        grid.add_column(heading, no_wrap=True)
    for heading in ("estimate\n(ms)", "±\n(ms)", "mIoU in the\nsupernet (%)", "after a short\ntraining (%)"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for goal, candidate in result.chosen.items():
        grid.add_row(
            goal,
            candidate.alternative or "all",
            f"{candidate.latency_ms:.4f}",
            f"{candidate.stderr_ms:.4f}",
            f"{100 * candidate.accuracy:.2f}",
            "" if candidate.trained is None else f"{100 * candidate.trained:.2f}",
        )
    console.print(grid)
    each = "" if result.seconds is None else f", {1e3 * result.seconds:.0f} ms each"
    taken_over = f", {result.known} taken over" if result.known else ""
    console.print(f"{result.evaluated} candidates evaluated{each}{taken_over}; {len(result.front)} on the front")
    if result.rank_correlation is not None:
        console.print(f"rank correlation with {len(result.trained)} short trainings: {result.rank_correlation:.2f}")
    console.print(f"candidates, front and architectures are in {output}", markup=False)
