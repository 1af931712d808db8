"""Training of one fixed network, alone or under a teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.networks.module import Network
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError
from nas_client.data.base import CheckProgress
from nas_client.data.datasets import labelling_of
from nas_client.errors import TrainingError
from nas_client.runs.checkpoints import Checkpoints
from nas_client.runs.journal import Journal
from nas_client.runs.manifest import require_run
from nas_client.runs.processes import Processes
from nas_client.runs.stopping import StopRequest
from nas_client.train.config import TrainConfig
from nas_client.train.data import TrainingData
from nas_client.train.folder import LAST, Recipe, Trained, TrainResult, begin, require_begun, save_result
from nas_client.train.networks import TrainableNetwork, seeded_network
from nas_client.train.trained_classes import TrainedClasses
from nas_client.train.training import Training, Watch
from nas_client.train.weights import weights_digest

Start = Callable[[Network], None]
"""Gives a new network its first weights, such as those of a supernet."""


def train(
    architecture: ArchitectureSpec,
    config: TrainConfig,
    folder: Path,
    *,
    teacher: Trained | None = None,
    start: Start | None = None,
    data: TrainingData | None = None,
    resume: bool = False,
    watch: Watch | None = None,
    processes: Processes | None = None,
    checking: CheckProgress | None = None,
) -> TrainResult:
    """Train a network, and leave in the folder what `nas_client.train.folder` lists.

    The same arguments give the same weights, to the bit on a CPU, whether or not the training was interrupted. On SIGTERM or
    Ctrl-C it finishes the step, saves, and returns a result that says so. In several processes, all call this with the same
    arguments; they share each batch, and together do what one would.

    Args:
        architecture: of the network.
        config: of the training.
        folder: of its own.
        teacher: whose predictions the network learns to match besides the labels.
        start: gives the network its first weights; random ones where None.
        data: opened already; `config.data` is opened where None.
        resume: go on where a training in that folder stopped.
        watch: receives the record of every epoch.
        processes: among which the training is shared; those that started this one where None.
        checking: receives the progress of the images' check.

    Raises:
        TrainingError: the folder, data or teacher does not fit; or classes changed since a resumed training began.
        RunFolderError: the folder holds another kind of run.
        CheckpointError: resumed with other arguments; names the fields that differ.
        DivergenceError: the loss is no longer a number; names the term. The last checkpoint stays.
        DatasetError: a file is missing or damaged, there are too few images, or those for validation do not fit into batches.
        InvalidSpecError: the crops are of a size that the network cannot take.
    """
    data = data or TrainingData.open(config)
    _require_fitting(architecture, config, data, teacher)
    network = _first_network(architecture, config)
    data.require_batches(config.validation.batch_size)
    if config.check_data:
        data.check(checking)
    if start is not None:
        start(network.network)
    recipe = Recipe(
        architecture=architecture,
        config=config,
        teacher=None if teacher is None else weights_digest(teacher.weights),
        start=None if start is None else weights_digest(network.network.state_dict()),
    )
    processes = processes or Processes()
    processes.require_same("the training", recipe.model_dump_json())
    if resume:
        require_begun(folder)
    saved = Checkpoints(folder).path(LAST).exists()
    labelling = labelling_of(config.data)
    processes.require_same(f"whether {folder} holds a checkpoint", str(saved))  # asked of all before one begins
    if saved:
        require_run(folder, "training")
    if processes.is_main and not (resume and saved):
        begin(folder, recipe, TrainedClasses.of(labelling), again=resume)
    training = Training(recipe, network, folder, data, processes, teacher)
    if resume:
        training.restore()
        recorded = TrainedClasses.read(folder) if saved else None
        if recorded is not None:
            recorded.require(labelling, config.data.name)
    with Journal(folder, keep=training.epoch, silent=not processes.is_main) as journal, StopRequest() as stop:
        result = training.run(journal, stop, watch)
    if processes.is_main:
        save_result(folder, result)
    return result


def require_classes(architecture: ArchitectureSpec, data: str, labels: int) -> None:
    """Raises TrainingError unless the network predicts as many classes as the labels have."""
    classes = architecture.classes
    if classes == labels:
        return
    missing = "; it could not predict all of them" if classes < labels else ""
    raise TrainingError(
        f"classes: the architecture has {classes}, data set {data} {labels}{missing}",
        hint=f"Set classes to {labels}: nas-client adapt --classes {labels}; or choose the data set that it is for.",
    )


def _require_fitting(architecture: ArchitectureSpec, config: TrainConfig, data: TrainingData, teacher: Trained | None) -> None:
    classes = len(data.train.classes)
    require_classes(architecture, data.train.name, classes)
    if teacher is not None and teacher.architecture.classes != classes:
        raise TrainingError(
            f"classes: the teacher predicts {teacher.architecture.classes}, the student {classes}",
            hint="Train the teacher on the student's data set.",
        )
    if config.batch_size > len(data.train):
        raise TrainingError(
            f"batch_size: {config.batch_size}, but there are {len(data.train)} training images",
            hint="Set a smaller batch_size.",
        )


def _first_network(architecture: ArchitectureSpec, config: TrainConfig) -> TrainableNetwork:
    try:
        return seeded_network(
            architecture,
            config.crop_size,
            auxiliary=config.losses.auxiliary > 0,
            auxiliary_heads=config.losses.auxiliary_heads,
            seed=config.seed,
        )
    except InvalidSpecError as error:
        height, width = config.crop_size
        raise InvalidSpecError(f"crop {height}×{width}: {error.message}", hint=error.hint) from error
