"""`evaluate`: how good, how large and how fast a trained network is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spec.errors import ExitCode
from models.spec.measurements import Budget, ProtocolName
from models.terminal import Json, emit
from nas_client.cli.arguments import BudgetOption, ProtocolOption, TrainedRun, WeightsOption, connect, say, watching

if TYPE_CHECKING:
    from models.spec.architectures import ArchitectureSpec
    from nas_client.train.evaluation import Evaluation, MeasuredSpeed


def evaluate(
    run: TrainedRun,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="U", envvar="OPCLOCK_URL", help="Service that measures frames per second. Without it there are none."
        ),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"], typer.Option(help="Split of the data set that the network was trained on.")
    ] = "val",
    weights: WeightsOption = "best",
    budget: BudgetOption = Budget.NORMAL,
    protocol: ProtocolOption = ProtocolName.IN_CONTEXT,
    pictures: Annotated[int, typer.Option(min=1, max=100, help="Number of images in predictions.png.")] = 6,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for the report.")] = None,
    json: Json = False,
) -> None:
    """Evaluate a trained network on a split: accuracies, confusion matrix, costs and, measured by a service, speed."""
    from nas_client.data.datasets import labelling_of, open_dataset
    from nas_client.runs.manifest import begin_run
    from nas_client.train.evaluation import evaluate as evaluate_network
    from nas_client.train.evaluation_files import write_evaluation
    from nas_client.train.folder import load_trained, read_train_config
    from nas_client.train.trained_classes import TrainedClasses

    if output is not None:
        begin_run(output, "evaluation")
    trained, config = load_trained(run, weights), read_train_config(run)
    recorded = TrainedClasses.read(run)
    if recorded is not None:
        recorded.require(labelling_of(config.data), config.data.name)
    dataset = open_dataset(config.data, split)
    speed = "no service was asked" if url is None else _measure(url, trained.architecture, budget, protocol)
    evaluated = evaluate_network(trained, dataset, split, config, weights=weights, speed=speed)
    if output is not None:
        write_evaluation(evaluated, output, pictures=pictures)
    evaluation = evaluated.evaluation
    emit(evaluation, as_json=json, text=lambda console: _show(console, evaluation, output))
    if url is not None and evaluation.speed is None:
        say(f"the network could not be measured: {evaluation.speed_missing}")
        raise typer.Exit(ExitCode.WORKLOADS_FAILED)


def _measure(url: str, architecture: ArchitectureSpec, budget: Budget, protocol: ProtocolName) -> MeasuredSpeed | str:
    from nas_client.train.evaluation import measure_speed

    with connect(url) as service, watching("measuring the network") as watch:
        return measure_speed(service, architecture, watch=watch, budget=budget, protocol=protocol)


def _show(console: Console, evaluation: Evaluation, output: Path | None) -> None:
    metrics, costs, speed = evaluation.metrics, evaluation.costs, evaluation.speed
    grid = Grid("class", box=None, pad_edge=False)
    for heading in ("IoU", "accuracy"):
        grid.add_column(heading, justify="right")
    rows = zip(evaluation.classes, metrics.class_iou, metrics.class_accuracy, strict=True)
    for name, iou, accuracy in rows:
        grid.add_row(name, _percent(iou), _percent(accuracy))
    grid.add_row("mean", _percent(metrics.mean_iou), _percent(metrics.mean_pixel_accuracy), style="bold")
    counted = f"{evaluation.images} images of the {evaluation.split} split of {evaluation.dataset}"
    console.print(f"{evaluation.label}, {evaluation.weights} weights, on {counted}", markup=False)
    console.print(grid)
    console.print(f"pixel accuracy {_percent(metrics.pixel_accuracy)}")
    console.print(
        f"{costs.macs / 1e9:.3f} G multiply-adds ({costs.convolution_macs / 1e9:.3f} G in convolutions), "
        f"{costs.flops / 1e9:.3f} GFLOPs as (2·Cin·K² − 1)·H·W·Cout, {costs.parameters / 1e6:.3f} M parameters"
    )
    if speed is not None:
        flags = f"; {', '.join(flag.value for flag in speed.flags)}" if speed.flags else ""
        console.print(f"{speed.fps:.1f} FPS ({speed.latency_ms:.3f} ms) on {speed.target}{flags}", markup=False)
    if output is not None:
        console.print(f"the report is in {output}", markup=False)


def _percent(value: float | None) -> str:
    return "absent" if value is None else f"{value:.2%}"
