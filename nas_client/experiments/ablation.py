"""What is each part of a search worth: widths, a second branch, the co-search of a teacher, distillation?

For each seed every space of the ablation is searched, with the same configuration; then the found networks are trained, one of
them under the teacher, too, and so is the teacher at its narrowest widths.

Source: FasterSeg, section 4.3 and Table 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

from models.networks.module import network_costs
from models.spaces.published import AblationRow
from models.spaces.registry import create_space
from models.spec.base import Record
from nas_client.estimates import whole_sum_ms
from nas_client.experiments import collapse, random_networks
from nas_client.experiments.ablation_runs import AblationConfig, searches, study_of, trainings
from nas_client.experiments.execution import Execution, carry_out
from nas_client.experiments.presets import configured
from nas_client.experiments.results import TRAIN_AGAIN, latencies_of, read_ious
from nas_client.experiments.runs import Training
from nas_client.experiments.spread import Spread
from nas_client.table import LookupTable

Preset = Literal["toy", "cpu", "gpu"]

_TOY_DATA = {"image_size": [64, 64], "train_images": 4, "val_images": 1, "cache": True}
PRESETS: Mapping[Preset, Mapping[str, Mapping[str, Any]]] = {
    "toy": {
        "search": {
            "data": _TOY_DATA,
            "image_scale": 1.0,
            "scales": [1.0],
            "label_stride": 8,
            "pretrain": {"epochs": 1, "batch_size": 2, "crop": [64, 64], "random_widths": 0},
            "search": {"epochs": 1, "batch_size": 2, "crop": [64, 64]},
            "evaluation": {"batch_size": 2, "statistics_batches": 1},
        },
        "training": {
            "data": _TOY_DATA,
            "scales": [1.0],
            "label_stride": 8,
            "batch_size": 4,
            "epochs": 1,
            "validation": {"batch_size": 2, "statistics_batches": 1},
        },
    },
    "cpu": {"search": collapse.PRESETS["cpu"], "training": random_networks.PRESETS["cpu"]},
    "gpu": {"search": collapse.PRESETS["gpu"], "training": random_networks.PRESETS["gpu"]},
}
"""What each preset changes of the space's defaults. `toy` shows that everything runs, and nothing else."""


class AblatedNetwork(Record):
    """One network of one seed.

    Attributes:
        architecture: key.
        mean_iou: on the validation split, after the last epoch of its training.
        estimate_ms: by the table.
        macs, parameters: multiply-adds and weights.
    """

    seed: int
    architecture: str
    mean_iou: float
    estimate_ms: float
    macs: int
    parameters: int


class AblationSummary(Record):
    """One row: the networks of all seeds, and what the paper has there.

    Attributes:
        name: as the paper calls it.
        distilled: whether they were trained under the teacher.
        mean_iou, estimate_ms, fps: over seeds; fps is what the estimates come to.
        published_mean_iou, published_fps: the paper's.
    """

    name: str
    distilled: bool
    networks: tuple[AblatedNetwork, ...]
    mean_iou: Spread
    estimate_ms: Spread
    fps: Spread
    published_mean_iou: float
    published_fps: float


class AblationResult(Record):
    """The experiment's result (`ablation.json`). mIoU everywhere is that after the last epoch.

    Attributes:
        table, target, space: which latencies.
        rows: in the paper's order.
        teacher: mIoU over seeds.
    """

    table: str
    target: str
    space: str
    preset: Preset
    seeds: tuple[int, ...]
    config: AblationConfig
    rows: tuple[AblationSummary, ...]
    teacher: Spread


def ablation(
    table: LookupTable,
    folder: Path,
    *,
    preset: Preset = "cpu",
    seeds: int = 3,
    overrides: Sequence[str] = (),
    **how: Unpack[Execution],
) -> AblationResult | None:
    """Run what is not done yet, and compare all of it; None where it was stopped.

    Args:
        table: of the whole search space, complete.
        folder: gets a folder per seed and run, and the table of each reduced space.
        preset: size of searches and trainings.
        seeds: how many; 0, 1, ….
        overrides: fields of the preset's configuration, as `search.search.epochs=5` and `training.epochs=5`.
        how: see `Execution`.

    Raises:
        RunFolderError: see `carry_out`.
        ExperimentError: nobody published an ablation of this space; or see `carry_out`.
        InvalidSpecError: an override is none of the configuration's, or the space has not what a row needs.
        MissingEntryError: the table is not complete.
    """
    config = preset_config(preset, table, overrides)
    study = study_of(table, folder)
    phases = (lambda: searches(study, seeds, config), lambda: trainings(study, seeds, config))
    if not carry_out(folder, "ablation", table, config, phases, **how):
        return None
    teachers, *of_rows = zip(*(study.trainings(seed) for seed in range(seeds)), strict=True)
    return AblationResult(
        **latencies_of(table),
        preset=preset,
        seeds=tuple(range(seeds)),
        config=config,
        rows=tuple(_summary(row, of_row, table) for row, of_row in zip(study.rows, of_rows, strict=True)),
        teacher=Spread.of([_mean_iou(teacher) for teacher in teachers]),
    )


def preset_config(preset: Preset, table: LookupTable, overrides: Sequence[str] = ()) -> AblationConfig:
    """The configuration of the runs: the preset's on that table, with λ and weights as in the other experiments.

    Raises:
        InvalidSpecError: an override is none of the configuration's, or states a seed.
        MissingEntryError: the table is not complete.
    """
    search, training = PRESETS[preset]["search"], PRESETS[preset]["training"]
    fields = {"search": {**search, "latency": collapse.published_latency(table)}, "training": training}
    return configured(AblationConfig, table.info.space.name, fields, overrides)


def _summary(row: AblationRow, of_seeds: Sequence[Training], table: LookupTable) -> AblationSummary:
    networks = tuple(_ablated(row, training, seed, table) for seed, training in enumerate(of_seeds))
    return AblationSummary(
        name=row.name,
        distilled=row.distilled,
        networks=networks,
        mean_iou=Spread.of([network.mean_iou for network in networks]),
        estimate_ms=Spread.of([network.estimate_ms for network in networks]),
        fps=Spread.of([1e3 * table.info.space.batch / network.estimate_ms for network in networks]),
        published_mean_iou=row.mean_iou,
        published_fps=row.fps,
    )


def _ablated(row: AblationRow, training: Training, seed: int, table: LookupTable) -> AblatedNetwork:
    costs = network_costs(create_space(row.space).plan(training.network))
    return AblatedNetwork(
        seed=seed,
        architecture=training.network.key(),
        mean_iou=_mean_iou(training),
        estimate_ms=whole_sum_ms(training.network, table),
        macs=costs.macs,
        parameters=costs.parameters,
    )


def _mean_iou(training: Training) -> float:
    return read_ious(training.run, training.network, TRAIN_AGAIN)[0]
