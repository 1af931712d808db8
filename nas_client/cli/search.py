"""`search`: co-search of teacher and student with a table. Torch is imported when it runs: that takes seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.terminal import Json, emit, people, progress, warn
from nas_client.cli.arguments import (
    INTERRUPTED,
    ConfigFile,
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
from nas_client.cli.select import show_selection

if TYPE_CHECKING:
    from rich.progress import Progress

    from nas_client.search.epochs import Phase, SearchEpoch
    from nas_client.search.outcome import SearchResult
    from nas_client.search.progress import SearchObserver
    from nas_client.selection.outcome import SelectionResult


def search(
    table: TableSource,
    output: RunFolder,
    config: ConfigFile = None,
    overrides: Overrides = None,
    pretrained: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder of a search whose pre-trained supernet replaces pre-training.")
    ] = None,
    latency_ms: LatencyTargets = None,
    front: Front = False,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Search for the networks with the best trade-off of mIoU and latency: their operators, paths and widths.

    With --set method=evolution the supernet is trained for ranking, and networks are selected from it, one for each
    --latency-ms.

    SIGTERM or Ctrl-C ends the search after the current step and saves it. --resume continues from there. Several processes,
    started by torchrun or accelerate launch, share each batch.
    """
    from models.spaces.registry import space_class
    from nas_client.runs.config import read_config, stated_fields
    from nas_client.runs.manifest import CONFIG
    from nas_client.runs.processes import Processes
    from nas_client.search.config import SearchConfig
    from nas_client.search.cosearch import search as run_search

    overrides = selection_overrides(overrides, latency_ms, front)
    if resume and config is None and not overrides and (output / CONFIG).exists():
        config = output / CONFIG
    stated = stated_fields(SearchConfig, config, overrides)  # a field that is wrong by itself, before a table is fetched
    if (latency_ms or front) and stated.get("method") != "evolution":
        raise typer.BadParameter("--latency-ms and --front need --set method=evolution; or take `select` after the search")
    found = load_table(table)
    space = space_class(found.info.space.name)
    defaults = space.search_defaults.model_dump(exclude={"training"})
    chosen = read_config(SearchConfig, config, overrides, base=defaults)
    with Processes() as processes, progress() as bar:
        if processes.is_main:
            warn(found.verdict, found.label())
        watch = _watch(bar, silent=not processes.is_main)
        check = bar.add_task("checking images", total=None, note="", visible=False)

        def checking(done: int, images: int) -> None:
            bar.update(check, completed=done, total=images, visible=done < images)

        result = run_search(
            chosen,
            found,
            output,
            resume=resume,
            pretrained=pretrained,
            processes=processes,
            watch=watch,
            checking=checking,
        )
        main = processes.is_main
    if main:
        selected = _selection(output) if chosen.method == "evolution" and result.chosen else None
        emit(result, as_json=json, text=lambda console: _show(console, result, space.alternatives_label, output, selected))
        for warning in () if selected is None else selected.warnings:
            say(warning)
    if not result.finished:
        if main:
            people().print(f"stopped; the same command with --resume continues ({output})", markup=False)
        raise typer.Exit(INTERRUPTED)


def _watch(bar: Progress, *, silent: bool) -> SearchObserver:
    from nas_client.search import progress as search_progress
    from nas_client.search.latency_factor import latency_warning

    class Terminal(search_progress.SearchObserver):
        """A bar for the steps of each phase, and a line for each epoch."""

        def __init__(self) -> None:
            self._task = bar.add_task("", total=None, note="")
            self._warned: set[str] = set()

        def step(self, phase: Phase, done: int, total: int, losses: Mapping[str, float]) -> None:
            note = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
            bar.update(self._task, description=phase, completed=done, total=total, note=note)

        def epoch(self, record: SearchEpoch) -> None:
            bar.console.print(_line(record), markup=False)
            found = latency_warning(record)
            if found is not None and found.what not in self._warned:
                self._warned.add(found.what)
                people().print(found.text, markup=False)

        def selection(self, what: str, done: int, total: int) -> None:
            bar.update(self._task, description=what, completed=done, total=total, note="")

    return search_progress.SearchObserver() if silent else Terminal()


def _line(record: SearchEpoch) -> str:
    parts = [f"{record.phase} epoch {record.epoch}: {record.seconds:.0f} s"]
    parts += [f"{name} {value:.3f}" for name, value in record.losses.items()]
    parts.append(f"supernet {record.latency.relaxed_ms:.3f} ms")
    if record.judged_ms is not None:
        parts.append(f"network {record.judged_ms:.3f} ms at λ {record.latency_factor:g}")
    for role, ious in record.mean_iou.items():
        known = [f"{alternative}: {value:.3f}" for alternative, value in ious.items() if value is not None]
        parts.append(f"mIoU of {role} {', '.join(known)}")
    return "; ".join(parts)


def _selection(output: Path) -> SelectionResult:
    """The selection that a search by evolution ended with."""
    from nas_client.runs.manifest import RESULT
    from nas_client.selection.outcome import SelectionResult
    from nas_client.selection.run import SELECTION

    path = output / SELECTION / RESULT
    return SelectionResult.parse_json(path.read_bytes(), source=str(path))


def _show(console: Console, result: SearchResult, label: str, output: Path, selected: SelectionResult | None) -> None:
    if selected is not None:
        show_selection(console, selected, output / "selection")
        return
    grid = Grid("role", label, box=None, pad_edge=False)
    for heading in ("mIoU", "ms", "objective", "MACs (G)", "weights (M)", ""):
        grid.add_column(heading, justify="right", no_wrap=True)
    for role, candidates in result.candidates.items():
        for candidate in candidates:
            grid.add_row(
                role,
                candidate.alternative or "all",
                *("" if value is None else f"{value:.4f}" for value in (candidate.accuracy, candidate.estimate_ms)),
                "" if candidate.objective is None else f"{candidate.objective:.4f}",
                f"{candidate.macs / 1e9:.3f}",
                f"{candidate.parameters / 1e6:.3f}",
                "chosen" if candidate.alternative == result.chosen[role] else "",
            )
    console.print(grid)
    for role, candidates in result.candidates.items():
        if len(candidates) > 1 and all(candidate.accuracy is None for candidate in candidates):
            console.print(f"no alternative of the {role} was evaluated yet: the first is taken")
    if result.latency_share is not None:
        console.print(f"the latency loss took {result.latency_share:.2%} of the search steps' time")
    console.print(f"architectures, logits and checkpoints are in {output}", markup=False)
