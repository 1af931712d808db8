"""`experiment`: many searches or trainings that answer one question. What they compute with is imported when they run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from models.spec.measurements import Budget
from models.terminal import Json, emit, people
from nas_client.cli.arguments import (
    BudgetOption,
    ConfigFile,
    LatencyTargets,
    Overrides,
    Resume,
    TableSource,
)
from nas_client.cli.experiment_parts import (
    AtOnce,
    Folder,
    MeasuringUrl,
    Seeds,
    chosen_of,
    conduct,
    measuring,
    processes,
    show_rows,
    table_of,
)

app = typer.Typer(help="Experiments: many runs that answer one question.", no_args_is_help=True)


@app.command("collapse")
def collapse(
    table: TableSource,
    output: Folder,
    preset: Annotated[Literal["cpu", "gpu"], typer.Option(help="Size of the searches.")] = "cpu",
    seeds: Seeds = 3,
    mode: Annotated[
        list[str] | None, typer.Option("--mode", metavar="M", help="naive, decoupled or none; repeatable. By default all.")
    ] = None,
    overrides: Overrides = None,
    at_once: AtOnce = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Compare naive and decoupled latency loss: does the search collapse to light operators and narrow widths?"""
    from nas_client.experiments.collapse import MODES
    from nas_client.experiments.collapse import collapse as run
    from nas_client.experiments.collapse_artifacts import COLLAPSE

    modes = chosen_of("--mode", mode, MODES)
    asked = partial(run, table_of(table), preset=preset, seeds=seeds, modes=modes, overrides=overrides or ())
    conduct(COLLAPSE, asked, output, preset=preset, at_once=at_once, resume=resume, json=json)


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
    from nas_client.experiments.latency_matched import BASELINES
    from nas_client.experiments.random_artifacts import RANDOM
    from nas_client.experiments.random_networks import compare, preset_config

    baselines = chosen_of("--baseline", baseline, tuple(BASELINES))
    found = table_of(table)
    trained = preset_config(preset, found, config, overrides or ())
    asked = partial(compare, search, found, config=trained, networks=networks, baselines=baselines, tolerance=tolerance)
    conduct(RANDOM, asked, output, preset=preset, at_once=at_once, resume=resume, json=json)


@app.command("methods")
def methods(
    table: TableSource,
    output: Folder,
    preset: Annotated[
        Literal["toy", "cpu", "cpu-cells"], typer.Option(help="Size of searches and trainings; toy shows only that all runs.")
    ] = "cpu",
    seeds: Seeds = 5,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="M",
            help="evolution, gradient, best_of or earliest; repeatable. By default all that the space has.",
        ),
    ] = None,
    latency_ms: LatencyTargets = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it would take, and do nothing else.")] = False,
    overrides: Overrides = None,
    at_once: AtOnce = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Compare searches, short trainings and early downsampling with random networks, at equal latency and training.

    Differences are paired by seed, and stand beside the noise of training. --set takes search.FIELD, training.FIELD, and the
    experiment's own, such as random=8.
    """
    from nas_client.experiments.latency_budget import LatencyBudget
    from nas_client.experiments.method_config import preset_config
    from nas_client.experiments.method_costs import estimate_minutes, method_costs
    from nas_client.experiments.methods import compare_methods, methods_of
    from nas_client.experiments.methods_artifacts import METHODS, estimate_rows

    found = table_of(table)
    budget = LatencyBudget(found)
    chosen = chosen_of("--method", method, methods_of(budget.space))
    config = preset_config(preset, found, budget, overrides or (), latency_ms or ())
    costs = method_costs(config, budget)
    parallel = processes(at_once, preset)
    expected = estimate_minutes(config, costs, budget, seeds=seeds, methods=chosen, at_once=parallel)
    if estimate:
        emit(expected, as_json=json, text=lambda console: show_rows(console, estimate_rows(expected)))
        return
    people().print(
        f"the steps take about {expected.total_minutes:.0f} minutes from the start, where nothing else runs", markup=False
    )
    asked = partial(
        compare_methods, found, config=config, costs=costs, budget=budget, preset=preset, seeds=seeds, methods=chosen
    )
    conduct(METHODS, asked, output, preset=preset, at_once=at_once, resume=resume, json=json)


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
    seeds: Seeds = 3,
    url: MeasuringUrl = None,
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
    from nas_client.experiments.reference_artifacts import REFERENCES
    from nas_client.experiments.reference_networks import compare_references, preset_config

    found = {path.stem: read_architecture(path.read_bytes(), str(path)) for path in architecture}
    if len(found) < len(architecture):
        raise typer.BadParameter("--architecture: two files have one name; the name is that of the network")
    trained = preset_config(preset, next(iter(found.values())).space, config, overrides or ())
    measure = measuring(url, budget)
    asked = partial(compare_references, found, config=trained, references=reference, seeds=seeds, measure=measure)
    conduct(REFERENCES, asked, output, preset=preset, at_once=at_once, resume=resume, json=json)


@app.command("attention")
def attention(
    table: TableSource,
    output: Folder,
    preset: Annotated[Literal["cpu", "gpu"], typer.Option(help="Size of the searches and trainings.")] = "cpu",
    seeds: Seeds = 3,
    url: MeasuringUrl = None,
    overrides: Overrides = None,
    budget: BudgetOption = Budget.NORMAL,
    at_once: AtOnce = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Compare attention in the search, in training, in both and in neither.

    The table must be of a space with both, such as that of M-FasterSeg. --set takes search.FIELD and training.FIELD.
    """
    from nas_client.experiments.attention import attention as run
    from nas_client.experiments.attention import preset_config
    from nas_client.experiments.attention_artifacts import ATTENTION

    found = table_of(table)
    trained, measure = preset_config(preset, found, overrides or ()), measuring(url, budget)
    asked = partial(run, found, config=trained, seeds=seeds, measure=measure)
    conduct(ATTENTION, asked, output, preset=preset, at_once=at_once, resume=resume, json=json)


@app.command("ablation")
def ablation(
    table: TableSource,
    output: Folder,
    preset: Annotated[
        Literal["toy", "cpu", "gpu"], typer.Option(help="Size of searches and trainings; toy shows only that all runs.")
    ] = "cpu",
    seeds: Seeds = 3,
    overrides: Overrides = None,
    at_once: AtOnce = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Search and train what FasterSeg's Table 3 compares: fixed widths, one branch, a pruned teacher, with distillation and
    without.
    """
    from nas_client.experiments.ablation import ablation as run
    from nas_client.experiments.ablation_artifacts import ABLATION

    asked = partial(run, table_of(table), preset=preset, seeds=seeds, overrides=overrides or ())
    conduct(ABLATION, asked, output, preset=preset, at_once=at_once, resume=resume, json=json)
