"""How good a trained network is, what it costs, and how fast a profiling service finds it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.networks.module import network_costs
from models.spaces.registry import space_of
from models.spec.architectures import ArchitectureSpec, InputSize
from models.spec.base import Record
from models.spec.measurements import Budget, Flag, Measurement, ProtocolName, Status
from models.spec.wire import JobCreate
from nas_client.data.base import SegmentationDataset, Split
from nas_client.data.loading import different_sizes
from nas_client.errors import TrainingError
from nas_client.service import ServiceClient, Watch, run_job
from nas_client.train.config import TrainConfig
from nas_client.train.folder import Trained
from nas_client.train.predictions import Predictor, SegmentationMetrics, confusion
from nas_client.train.weights import weights_digest


class NetworkCosts(Record):
    """Arithmetic and weights of the network at inference, at the architecture's batch and input size.

    Attributes:
        macs: multiply-adds of all layers; FasterSeg's tables call these FLOPs.
        convolution_macs: multiply-adds of the convolutions alone.
        flops: (2·Cin·K² − 1)·H·W·Cout of each convolution (M-FasterSeg, equation 19).
        parameters: weights and biases, those of batch normalisation included; auxiliary heads are not part of the network.
    """

    macs: int
    convolution_macs: int
    flops: int
    parameters: int

    @classmethod
    def of(cls, architecture: ArchitectureSpec) -> NetworkCosts:
        """Those of that network."""
        costs = network_costs(space_of(architecture).plan(architecture))
        return cls(
            macs=costs.macs,
            convolution_macs=costs.convolution_macs,
            flops=costs.flops,
            parameters=costs.parameters,
        )


class MeasuredSpeed(Record):
    """What a profiling service measured of the architecture. It gives networks weights of its own: they do not change the time.

    Attributes:
        fps: images per second: batch / latency.
        latency_ms, stderr_ms, between_round_spread, flags: see `Measurement`.
        target, protocol, table_id: where, how, and in which table of the service.
    """

    fps: float
    latency_ms: float
    stderr_ms: float | None
    between_round_spread: float | None
    flags: tuple[Flag, ...]
    target: str
    protocol: ProtocolName
    table_id: str


class Evaluation(Record):
    """One network, evaluated.

    Attributes:
        architecture: key of the architecture. label: for people.
        input_size: for which costs and speed are stated.
        weights: `best` or `final`.
        weights_digest: names the weights themselves; None in files of earlier releases.
        dataset, split, images: on which the metrics are.
        image_scale: by which the images were resized.
        classes: names, in the order of the metrics' tuples.
        metrics: of the predictions.
        costs: of the network.
        speed: None where no service was asked, or it could not measure; then `speed_missing` says why.
    """

    architecture: str
    label: str
    input_size: InputSize
    weights: str
    weights_digest: str | None = None
    dataset: str
    split: Split
    images: int
    image_scale: float
    classes: tuple[str, ...]
    metrics: SegmentationMetrics
    costs: NetworkCosts
    speed: MeasuredSpeed | None = None
    speed_missing: str = "no service was asked"


@dataclass(frozen=True, eq=False)
class Evaluated:
    """An evaluation, and what its report is drawn from.

    Attributes:
        confusion: pixels by labelled (row) and predicted class. Shape: (classes, classes).
        predictor: predicts as evaluated.
    """

    evaluation: Evaluation
    confusion: Tensor
    predictor: Predictor
    dataset: SegmentationDataset


def evaluate(
    trained: Trained,
    dataset: SegmentationDataset,
    split: Split,
    config: TrainConfig,
    *,
    weights: str,
    speed: MeasuredSpeed | str = "no service was asked",
) -> Evaluated:
    """Predict every image of a split, whole, without flips or several scales, and count.

    Args:
        trained: the network.
        dataset: its images.
        split: which they are.
        config: of the training: how images are resized, and how many are predicted at once where all have one size.
        weights: which of the training's these are.
        speed: as `measure_speed` found it; or why it did not.

    Raises:
        TrainingError: network and data set have different classes.
    """
    architecture = trained.architecture
    if architecture.classes != len(dataset.classes):
        raise TrainingError(
            f"classes: the network predicts {architecture.classes}, data set {dataset.name} has {len(dataset.classes)}",
            hint="Evaluate it on the data set it was trained on.",
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    predictor = Predictor(architecture, trained.weights, device)
    matrix = confusion(
        predictor,
        dataset,
        image_scale=config.image_scale,
        batch_size=config.validation.batch_size if different_sizes(dataset) is None else 1,
        workers=config.workers,
    )
    evaluation = Evaluation(
        architecture=architecture.key(),
        label=architecture.label(),
        input_size=architecture.input_size,
        weights=weights,
        weights_digest=weights_digest(trained.weights),
        dataset=dataset.name,
        split=split,
        images=len(dataset),
        image_scale=config.image_scale,
        classes=dataset.classes.names,
        metrics=matrix.metrics(),
        costs=NetworkCosts.of(architecture),
        speed=None if isinstance(speed, str) else speed,
        speed_missing=speed if isinstance(speed, str) else "",
    )
    return Evaluated(evaluation, matrix.counts.cpu(), predictor, dataset)


def measure_speed(
    service: ServiceClient,
    architecture: ArchitectureSpec,
    *,
    watch: Watch,
    budget: Budget = Budget.NORMAL,
    protocol: ProtocolName = ProtocolName.IN_CONTEXT,
) -> MeasuredSpeed | str:
    """Have a service measure the network; what its table already holds is not measured again.

    Returns:
        The speed, or why the service could not measure it.

    Raises:
        JobFailedError: see `run_job`.
    """
    request = JobCreate(space=space_of(architecture).spec, workloads=(architecture,), protocol=protocol, budget=budget)
    job = run_job(service, request, watch)
    (found,) = service.lookup(job.table_id, (architecture,))
    if found is None:
        return f"the service at {service.url} has no measurement of it"
    if found.status is not Status.OK or found.value_ms is None:
        return f"{found.status.value}: {found.message}"
    return _speed(found, found.value_ms, architecture.batch, service.target().target.label(), protocol, job.table_id)


def _speed(
    found: Measurement, value_ms: float, batch: int, target: str, protocol: ProtocolName, table_id: str
) -> MeasuredSpeed:
    return MeasuredSpeed(
        fps=1e3 * batch / value_ms,
        latency_ms=value_ms,
        stderr_ms=found.stderr_ms,
        between_round_spread=found.between_round_spread,
        flags=found.flags,
        target=target,
        protocol=protocol,
        table_id=table_id,
    )
