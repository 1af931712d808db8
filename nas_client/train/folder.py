"""The folder of a training: what it was, what it records of itself, and what it leaves.

::

    RUN/run.json            what kind of run this is
    RUN/architecture.json   the network
    RUN/config.yaml         the configuration, every field stated
    RUN/classes.json        names and labels of the classes
    RUN/epochs.jsonl        a line per epoch
    RUN/result.json         how it ended
    RUN/checkpoints/        last.pt to resume from; best.pt and final.pt, the weights alone
    RUN/tensorboard/        curves
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.networks.module import Network, build_network
from models.spaces.registry import plan_at
from models.spaces.registry import read_architecture as architecture_in
from models.spec.architectures import ArchitectureSpec, InputSize
from models.spec.base import Record
from nas_client.errors import CheckpointError, TrainingError
from nas_client.runs.checkpoints import Checkpoints
from nas_client.runs.config import read_config, write_config
from nas_client.runs.manifest import CONFIG, RESULT, begin_run, is_begun, require_run
from nas_client.train.config import TrainConfig
from nas_client.train.predictions import SegmentationMetrics
from nas_client.train.trained_classes import TrainedClasses
from nas_client.train.weights import State


class Recipe(Record):
    """All that a training follows from; it is resumed with the same.

    Attributes:
        architecture, config: of the training.
        teacher, start: digests of the teacher's and of the given first weights; None where there are none.
    """

    architecture: ArchitectureSpec
    config: TrainConfig
    teacher: str | None = None
    start: str | None = None


class EpochRecord(Record):
    """One epoch: means over its steps, and the validation at its end.

    Attributes:
        epoch: counted from 1.
        steps: done so far.
        lr: of the last step.
        loss: the sum of the terms.
        segmentation, auxiliary, distillation: terms of the loss, weighted.
        gradient_norm: before clipping.
        validation: on the validation images; None where there was none.
        best: whether these weights are the best so far.
        seconds: that the epoch took, its validation included.
    """

    epoch: int
    steps: int
    lr: float
    loss: float
    segmentation: float
    auxiliary: float
    distillation: float
    gradient_norm: float
    validation: SegmentationMetrics | None
    best: bool
    seconds: float


class TrainResult(Record):
    """How a training ended.

    Attributes:
        architecture: key of the network's.
        finished: whether all epochs are done; otherwise it was asked to stop, and can be resumed.
        epochs, steps: done.
        best_epoch: with the highest mIoU on the validation images, the first of equals; None before the first validation.
        best: the metrics of that epoch.
        final: the metrics of the last epoch.
    """

    architecture: str
    finished: bool
    epochs: int
    steps: int
    best_epoch: int | None
    best: SegmentationMetrics | None
    final: SegmentationMetrics | None


ARCHITECTURE = "architecture.json"
BEST, FINAL, LAST = "best", "final", "last"

_WEIGHTS = "network"


@dataclass(frozen=True, eq=False)
class Trained:
    """A network with its trained weights.

    Attributes:
        architecture: of the network.
        weights: its state; auxiliary heads are not part of it.
    """

    architecture: ArchitectureSpec
    weights: Mapping[str, Tensor]

    def network(self, size: InputSize | None = None) -> Network:
        """In evaluation mode, for images of that size, or the architecture's own. Its weights are shared with this."""
        with torch.device("meta"):
            network = build_network(plan_at(self.architecture, size or self.architecture.input_size))
        network.load_state_dict(self.weights, assign=True)
        return network.eval()


def begin(folder: Path, recipe: Recipe, classes: TrainedClasses, *, again: bool = False) -> None:
    """Write what the training is.

    Args:
        folder: of the training.
        recipe: the training.
        classes: of its data set.
        again: replace what an attempt wrote that saved no checkpoint.

    Raises:
        TrainingError: another training lies there.
        RunFolderError: another kind of run lies there.
        OSError: the folder cannot be written.
    """
    if is_begun(folder) and not again:
        require_run(folder, "training")
        raise TrainingError(f"{folder} holds a training already", hint="Resume it with --resume, or choose another folder.")
    begin_run(folder, "training")
    write_config(recipe.config, folder / CONFIG)
    classes.save(folder)
    (folder / ARCHITECTURE).write_text(recipe.architecture.model_dump_json(indent=2) + "\n", encoding="utf-8")


def require_begun(folder: Path) -> None:
    """Raises TrainingError where there is nothing to resume; RunFolderError where there is another kind of run."""
    if not is_begun(folder):
        raise TrainingError(f"{folder} holds no training to resume", hint="Start it without --resume.")
    require_run(folder, "training")


def read_architecture(folder: Path) -> ArchitectureSpec:
    """Raises RunFolderError where the folder is no training's; InvalidSpecError; OSError."""
    require_run(folder, "training")
    path = folder / ARCHITECTURE
    return architecture_in(path.read_bytes(), str(path))


def read_train_config(folder: Path) -> TrainConfig:
    """Raises InvalidSpecError; OSError."""
    return read_config(TrainConfig, folder / CONFIG)


def save_result(folder: Path, result: TrainResult) -> None:
    """Raises OSError."""
    (folder / RESULT).write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_result(folder: Path) -> TrainResult:
    """Raises InvalidSpecError; OSError."""
    path = folder / RESULT
    return TrainResult.parse_json(path.read_bytes(), source=str(path))


def save_weights(folder: Path, name: str, weights: State, recipe: Recipe) -> None:
    """Keep a network's weights under that name. Raises OSError."""
    Checkpoints(folder).save(name, {_WEIGHTS: weights}, recipe)


def load_trained(folder: Path, name: str = BEST) -> Trained:
    """The network that a training left behind.

    Args:
        folder: of the training.
        name: `BEST` or `FINAL`.

    Raises:
        RunFolderError: the folder is no training's.
        CheckpointError: there are no such weights, or they are damaged, or not those of the architecture.
    """
    architecture = read_architecture(folder)
    checkpoints = Checkpoints(folder)
    trained = Trained(architecture, checkpoints.read(name)[_WEIGHTS])
    try:
        trained.network()
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoints.path(name)}: not the weights of {architecture.label()}: {error}",
            hint=f"Restore {folder / ARCHITECTURE} as train wrote it.",
        ) from error
    return trained
