"""Trained networks as parts of the page: what they reached, how they got there, what they predict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from models.networks.module import network_costs
from models.spaces.registry import space_class, space_of
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import SpecError
from nas_client.estimates import estimate
from nas_client.report.blocks import NONE, Block, Fold, Grid, Section, Text, drawn, embedded, millions, milliseconds, percent
from nas_client.report.curves import panels
from nas_client.report.folder import EvaluationFiles, RunFolder, TrainingRun
from nas_client.report.searches import architecture_picture
from nas_client.table import LookupTable
from nas_client.train.evaluation import Evaluation, MeasuredSpeed


def results_section(run: RunFolder) -> Section:
    """One row per trained network: what it costs, how fast it is, how good it is."""
    rows = [_row(training, run) for training in run.trainings]
    labels = {space_class(training.architecture.space).alternatives_label for training in run.trainings}
    headings = (
        *(
            "network",
            labels.pop() if len(labels) == 1 else "alternative",
            "estimate (ms)",
            "measured (ms)",
            "estimate is off by (%)",
            "FPS",
        ),
        *("multiply-adds (M)", "parameters (M)", "mIoU (%)", "pixel accuracy (%)"),
    )
    caption = (
        "Estimates are sums of the run's table; measured is the whole network, by a profiling service. An estimate is compared "
        "with it where a table is of the same target and protocol. Accuracies are those of an evaluation of the training's own "
        "weights on the validation split, or, without one, those after the last epoch."
    )
    pictures = [
        architecture_picture(training.architecture, training.name, f"trained{index}")
        for index, training in enumerate(run.trainings)
    ]
    return Section("results", "Results", [Grid(headings, rows, caption, numbers=2), *pictures])


def trainings_section(run: RunFolder) -> Section:
    """Curves and configurations."""
    trainings = [training for training in run.trainings if training.epochs]
    blocks: list[Block] = []
    if trainings:
        losses = {training.name: _losses(training) for training in trainings}
        ious = {training.name: [_iou(epoch.validation) for epoch in training.epochs] for training in trainings}
        blocks = [
            drawn(
                panels(losses, "loss", from_zero=True), "training-losses", "Terms of the loss, weighted: means of each epoch."
            ),
            drawn(panels({"validation": ious}, "mIoU (%)", from_zero=True), "training-miou", "mIoU on the validation images."),
        ]
    for training in run.trainings:
        blocks.append(Text(f"{training.name}: {_ending(training)}"))
        blocks.append(Fold(f"Configuration of {training.name}", training.config))
    return Section("training", "Training", blocks)


def evaluations_section(run: RunFolder) -> Section:
    """IoU of every class, beside each other, and pictures of predictions."""
    return Section("evaluation", "Evaluation", list(_evaluations(run.evaluations)))


def _evaluations(evaluations: Sequence[EvaluationFiles]) -> Iterator[Block]:
    first = evaluations[0].evaluation
    comparable = [files for files in evaluations if files.evaluation.classes == first.classes]
    rows = [
        (name, *(percent(files.evaluation.metrics.class_iou[index]) for files in comparable))
        for index, name in enumerate(first.classes)
    ]
    rows.append(("mean", *(percent(files.evaluation.metrics.mean_iou) for files in comparable)))
    caption = (
        f"IoU by class (%), on {first.images} images of the {first.split} split of {first.dataset}; {NONE}: never occurred."
    )
    yield Grid(("class", *(files.name for files in comparable)), rows, caption)
    for files in evaluations:
        speed = files.evaluation.speed
        if speed is not None:
            yield Text(f"{files.name}: {speed.fps:.1f} frames per second, {speed.latency_ms:.4g} ms on {speed.target}.")
        else:
            yield Text(f"{files.name}: no speed: {files.evaluation.speed_missing}.")
        if files.pictures is not None:
            yield embedded(files.pictures, f"{files.name}: images, labels and predictions.")


def _row(training: TrainingRun, run: RunFolder) -> tuple[str, ...]:
    architecture = training.architecture
    space = space_of(architecture)
    costs = network_costs(space.plan(architecture))
    evaluations = [files.evaluation for files in run.evaluations if architecture.known_as(files.evaluation.architecture)]
    own = [evaluation for evaluation in evaluations if _is_own(evaluation, training)]
    ended = None if training.result is None else training.result.final
    metrics = own[0].metrics if own else ended
    # weights do not change the time: any evaluation of the architecture may have asked for it
    speed = next((evaluation.speed for evaluation in (*own, *evaluations) if evaluation.speed is not None), None)
    comparable_ms = None if speed is None else _estimate_ms(architecture, _tables_of(speed, run))
    expected_ms = _estimate_ms(architecture, run.tables.values()) if comparable_ms is None else comparable_ms
    off = None if speed is None or comparable_ms is None else comparable_ms / speed.latency_ms - 1
    return (
        training.name,
        space.alternative_of(architecture) or "all",
        milliseconds(expected_ms),
        milliseconds(None if speed is None else speed.latency_ms),
        NONE if off is None else f"{100 * off:+.1f}",
        NONE if speed is None else f"{speed.fps:.1f}",
        millions(costs.macs),
        millions(costs.parameters),
        percent(None if metrics is None else metrics.mean_iou),
        percent(None if metrics is None else metrics.pixel_accuracy),
    )


def _is_own(evaluation: Evaluation, training: TrainingRun) -> bool:
    """Whether it is of the training's own weights, on the validation split: other trainings may have the same architecture."""
    digest = evaluation.weights_digest
    return evaluation.split == "val" and digest is not None and digest == training.weights_digest(evaluation.weights)


def _tables_of(speed: MeasuredSpeed, run: RunFolder) -> list[LookupTable]:
    """The run's tables of the target and protocol by which the network was measured."""
    measured = (speed.target, speed.protocol)
    return [table for table in run.tables.values() if (table.info.target.label(), table.info.protocol) == measured]


def _estimate_ms(architecture: ArchitectureSpec, tables: Iterable[LookupTable]) -> float | None:
    """By the first of the tables that can; None where none is of the architecture's space, or it lacks operators."""
    for table in tables:
        try:
            found = estimate(architecture, table)
        except SpecError:
            continue
        if not found.missing:
            return found.sum_ms
    return None


def _losses(training: TrainingRun) -> dict[str, list[float]]:
    """The terms that ever were anything."""
    terms = ("segmentation", "auxiliary", "distillation")
    curves = {name: [float(getattr(epoch, name)) for epoch in training.epochs] for name in terms}
    return {name: curve for name, curve in curves.items() if any(curve)}


def _iou(metrics: object) -> float | None:
    value = getattr(metrics, "mean_iou", None)
    return None if value is None else 100 * value


def _ending(training: TrainingRun) -> str:
    result, minutes = training.result, sum(epoch.seconds for epoch in training.epochs) / 60
    if result is None:
        return f"not ended; {len(training.epochs)} epochs so far, {minutes:.1f} minutes."
    best = "" if result.best is None else f" best mIoU {percent(result.best.mean_iou)} % after epoch {result.best_epoch};"
    final = "" if result.final is None else f" at the end {percent(result.final.mean_iou)} %;"
    stopped = "" if result.finished else " stopped before its end;"
    return f"{result.epochs} epochs, {result.steps} steps, {minutes:.1f} minutes;{best}{final}{stopped}".rstrip(";") + "."
