"""Folders of runs as the commands write them, with made-up numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.base import Record
from models.spec.measurements import ProtocolName
from nas_client.data.base import Split
from nas_client.data.classes import CITYSCAPES
from nas_client.runs.config import write_config
from nas_client.runs.manifest import begin_run
from nas_client.search.config import SearchConfig
from nas_client.search.epochs import Decoded, Latencies, SearchEpoch
from nas_client.search.outcome import Candidate, SearchResult
from nas_client.train.config import TrainConfig
from nas_client.train.evaluation import Evaluation, MeasuredSpeed, NetworkCosts
from nas_client.train.folder import EpochRecord, Recipe, TrainResult, save_weights
from nas_client.train.networks import seeded_network
from nas_client.train.predictions import SegmentationMetrics
from nas_client.train.weights import copy_of, weights_digest
from tests.support.fake_service import TARGET

SPACE = create_space(SpaceSpec(name="fasterseg", input_size=(64, 128), parameters={"layers": 6, "base_channels": 6}))


def write_lines(folder: Path, records: list[Record]) -> None:
    """A journal."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "epochs.jsonl").write_text("".join(record.model_dump_json() + "\n" for record in records))


def decoded(alternative: str, seed: int, *, role: str = "student") -> ArchitectureSpec:
    """The architecture of that alternative, the same for the same seed."""
    rng = np.random.default_rng(seed)
    probabilities = {
        granularity: {group: rng.dirichlet(np.ones(shape[1]), shape[0]) for group, shape in groups.items()}
        for granularity, groups in SPACE.parameter_shapes().items()
    }
    return SPACE.decode(probabilities, alternative=alternative, role=SPACE.role(role))


def search_epoch(epoch: int, *, searching: bool = True) -> SearchEpoch:
    """Numbers that get better with the epoch."""
    roles = ("student", "teacher")
    pairs = SPACE.alternatives()
    names = [f"{what}_{role}" for what in ("weights", *["architecture"] * searching) for role in roles]
    latency = Latencies(
        operator_ms=9 - epoch, downsample_ms=6, expansion_ms=8 - epoch / 2, weighted_ms=6.1, relaxed_ms=7 - epoch
    )
    networks = {
        role: tuple(
            Decoded(
                alternative=pair,
                estimate_ms=3 + 0.1 * epoch,
                skip_share=0.25,
                narrowest_share=0.5,
                architecture=decoded(pair, epoch, role=role),
            )
            for pair in pairs
        )
        for role in roles
    }
    return SearchEpoch(
        phase="search" if searching else "pretrain",
        epoch=epoch,
        steps=10,
        seconds=30.0,
        losses=dict.fromkeys(names, 2.5 - 0.1 * epoch) | ({"latency": 0.01} if searching else {}),
        latency=latency,
        latency_share=0.004 if searching else None,
        entropy={"student": {"alpha": 1.6, "beta": 0.6, "gamma": 1.5}, "teacher": {"alpha": 1.6, "beta": 0.6}},
        mean_iou={role: dict.fromkeys(pairs, 0.1 + 0.05 * epoch) for role in roles},
        decoded=networks,
    )


def search_result(last: SearchEpoch) -> SearchResult:
    """The end of a search whose last epoch was that one; the pair 8,32 is chosen."""
    candidates = {
        role: tuple(
            Candidate(
                alternative=network.alternative,
                estimate_ms=network.estimate_ms,
                macs=2_000_000,
                parameters=1_500_000,
                accuracy=last.mean_iou[role][network.alternative],
                objective=0.25,
                architecture=network.architecture,
            )
            for network in networks
        )
        for role, networks in last.decoded.items()
    }
    return SearchResult(
        finished=True,
        epochs=3,
        table="0123456789abcdef",
        weights=(0.001, 0.997, 0.002),
        latency_share=0.004,
        candidates=candidates,
        chosen=dict.fromkeys(candidates, "8,32"),
    )


def write_search(folder: Path, *, pretraining: int = 1, searching: int = 2, finished: bool = True) -> list[SearchEpoch]:
    """What a search writes and a report reads; its epochs."""
    epochs = [search_epoch(epoch, searching=False) for epoch in range(pretraining)]
    epochs += [search_epoch(epoch) for epoch in range(searching)]
    write_lines(folder, list(epochs))
    begin_run(folder, "search")
    write_config(SearchConfig(), folder / "config.yaml")
    if finished:
        (folder / "result.json").write_text(search_result(epochs[-1]).model_dump_json())
    return epochs


def metrics(mean_iou: float) -> SegmentationMetrics:
    """Those of a prediction with that mIoU."""
    return SegmentationMetrics(
        pixel_accuracy=2 * mean_iou,
        mean_pixel_accuracy=1.5 * mean_iou,
        mean_iou=mean_iou,
        class_accuracy=(1.5 * mean_iou,) * 19,
        class_iou=(mean_iou,) * 18 + (None,),
        pixels=1000,
    )


def write_training(folder: Path, architecture: ArchitectureSpec, *, mean_iou: float = 0.3, epochs: int = 3) -> None:
    """What a finished training writes, its weights left out. The epoch before the last was better by a tenth."""
    records = [
        EpochRecord(
            epoch=epoch,
            steps=10 * epoch,
            lr=0.01,
            loss=3 / epoch,
            segmentation=2 / epoch,
            auxiliary=0,
            distillation=1 / epoch,
            gradient_norm=1,
            validation=None if epoch == 1 else metrics(mean_iou),
            best=epoch == epochs - 1,
            seconds=6,
        )
        for epoch in range(1, epochs + 1)
    ]
    write_lines(folder, list(records))
    (folder / "architecture.json").write_text(architecture.model_dump_json())
    begin_run(folder, "training")
    write_config(TrainConfig(), folder / "config.yaml")
    result = TrainResult(
        architecture=architecture.key(),
        finished=True,
        epochs=epochs,
        steps=10 * epochs,
        best_epoch=epochs - 1,
        best=metrics(1.1 * mean_iou),
        final=metrics(mean_iou),
    )
    (folder / "result.json").write_text(result.model_dump_json())


def write_weights(folder: Path, architecture: ArchitectureSpec, seed: int) -> str:
    """The best weights of a training, random ones; their digest."""
    weights = copy_of(seeded_network(architecture, architecture.input_size, auxiliary=False, seed=seed).network)
    save_weights(folder, "best", weights, Recipe(architecture=architecture, config=TrainConfig()))
    return weights_digest(weights)


def evaluation(
    architecture: ArchitectureSpec,
    *,
    latency_ms: float | None,
    mean_iou: float = 0.3,
    digest: str | None = None,
    split: Split = "val",
    protocol: ProtocolName = ProtocolName.IN_CONTEXT,
) -> Evaluation:
    """An evaluation of the weights of that digest; without a latency, none that a service was asked for."""
    speed = None
    if latency_ms is not None:
        speed = MeasuredSpeed(
            fps=1e3 / latency_ms,
            latency_ms=latency_ms,
            stderr_ms=None,
            between_round_spread=None,
            flags=(),
            target=TARGET.label(),
            protocol=protocol,
            table_id="0123456789abcdef",
        )
    return Evaluation(
        architecture=architecture.key(),
        label=architecture.label(),
        input_size=architecture.input_size,
        weights="best",
        weights_digest=digest,
        dataset="synthetic_streets",
        split=split,
        images=7,
        image_scale=1.0,
        classes=CITYSCAPES.names,
        metrics=metrics(mean_iou),
        costs=NetworkCosts.of(architecture),
        speed=speed,
    )
