"""What results of experiments are made of: networks after their training, and whose latencies they are judged by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.networks.module import network_costs
from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record
from nas_client.errors import ExperimentError
from nas_client.estimates import whole_sum_ms
from nas_client.runs.journal import read_journal
from nas_client.table import LookupTable
from nas_client.train.evaluation import MeasuredSpeed
from nas_client.train.folder import EpochRecord, TrainResult, read_result

Measure = Callable[[ArchitectureSpec], MeasuredSpeed | str]
"""The measured speed of a network, or why there is none."""


class TrainedNetwork(Record):
    """One network after its training.

    Attributes:
        name: of its folder.
        architecture: key.
        estimate_ms: by the table.
        mean_iou: on the validation split, after the last epoch.
        best_mean_iou: after the best epoch.
        loss: of the training, with all its parts, mean over the last epoch; None in results of before.
    """

    name: str
    architecture: str
    estimate_ms: float
    macs: int
    parameters: int
    mean_iou: float
    best_mean_iou: float
    loss: float | None = None


TRAIN_AGAIN = "Remove that folder and go on with --resume; the network is then trained again."
"""What to do where a folder holds the training of another architecture than was found."""

NETWORK_HEADINGS = ("estimate (ms)", "multiply-adds (M)", "parameters (M)", "mIoU (%)", "best mIoU (%)")


def network_cells(network: TrainedNetwork) -> tuple[str, ...]:
    """What stands under `NETWORK_HEADINGS`."""
    costs = (network.estimate_ms, network.macs / 1e6, network.parameters / 1e6)
    ious = (network.mean_iou, network.best_mean_iou)
    return (*(f"{cost:#.4g}" for cost in costs), *(f"{100 * iou:.2f}" for iou in ious))


def read_trained(run: Path, network: ArchitectureSpec, table: LookupTable, hint: str) -> TrainedNetwork:
    """The network of a finished training.

    Args:
        run: its folder.
        network: that it must be of.
        table: gives its estimate.
        hint: what to do where it is not.

    Raises:
        ExperimentError: it is the training of another architecture, or its validation images have no labels.
        MissingEntryError: the table is not complete.
    """
    mean_iou, best_mean_iou = read_ious(run, network, hint)
    costs = network_costs(create_space(table.info.space).plan(network))
    return TrainedNetwork(
        name=run.name,
        architecture=network.key(),
        estimate_ms=whole_sum_ms(network, table),
        macs=costs.macs,
        parameters=costs.parameters,
        mean_iou=mean_iou,
        best_mean_iou=best_mean_iou,
        loss=last_loss(run),
    )


def last_loss(run: Path) -> float:
    """The loss of a finished training, mean over its last epoch."""
    return read_journal(run, EpochRecord)[-1].loss


def read_ious(run: Path, network: ArchitectureSpec, hint: str) -> tuple[float, float]:
    """The mIoU of a finished training, after its last epoch and after its best.

    Args:
        run: its folder.
        network: that it must be of.
        hint: what to do where it is not.

    Raises:
        ExperimentError: it is the training of another architecture, or its validation images have no labels.
    """
    result = read_training(run, network, hint)
    ious = [metrics.mean_iou for metrics in (result.final, result.best) if metrics is not None and metrics.mean_iou is not None]
    if len(ious) < 2:
        raise ExperimentError(f"{run}: no mIoU: its validation images have no labels", hint="Name a split with labels.")
    return ious[0], ious[1]


def read_training(run: Path, network: ArchitectureSpec, hint: str) -> TrainResult:
    """How a training ended.

    Args:
        run: its folder.
        network: that it must be of.
        hint: what to do where it is not.

    Raises:
        ExperimentError: it is the training of another architecture.
    """
    result = read_result(run)
    if not network.known_as(result.architecture):
        raise ExperimentError(f"{run} holds the training of another architecture, {result.architecture}", hint=hint)
    return result


def latencies_of(table: LookupTable) -> dict[str, str]:
    """Whose latencies a result has, as its fields `table`, `target` and `space`."""
    return {"table": table.info.id(), "target": table.info.target.label(), "space": table.info.space.label()}
