"""Is a found network better than the networks that its paper compares it with, of the same widths and trained alike?

The space names them (`models.spaces.reference_networks`). All are trained from the same configurations, once per seed, and a
service measures each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

from models.networks.module import network_costs
from models.spaces.reference_networks import ReferenceNetworks
from models.spaces.registry import space_label, space_of
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record
from models.spec.errors import UnknownNameError
from nas_client.errors import ExperimentError
from nas_client.experiments.execution import Command, Execution, carry_out
from nas_client.experiments.presets import configured
from nas_client.experiments.results import Measure, last_loss, read_ious
from nas_client.experiments.runs import Training, training_commands
from nas_client.experiments.spread import Spread
from nas_client.runs.manifest import CONFIG
from nas_client.train.config import TrainConfig
from nas_client.train.evaluation import MeasuredSpeed

Preset = Literal["toy", "cpu", "published"]
PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "toy": {
        "data": {"name": "synthetic_pets", "image_size": [32, 32], "train_images": 4, "val_images": 2, "cache": True},
        "crop": [32, 32],
        "batch_size": 2,
        "epochs": 1,
    },
    "cpu": {
        "data": {"name": "synthetic_pets", "image_size": [64, 64], "train_images": 240, "val_images": 80, "cache": True},
        "crop": [64, 64],
        "scales": [1.0],
        "batch_size": 8,
        "epochs": 30,
        "optimizer": {"lr": 0.05},
        "validation": {"every": 5, "batch_size": 8, "statistics_batches": 10},
    },
    "published": {},
}
"""What each preset changes of the defaults that the space states for trainings."""


class ComparedNetwork(Record):
    """One network, trained once per seed.

    Attributes:
        name: of its folders.
        found: whether it was given, rather than named by the space.
        architecture: key.
        mean_iou: on the validation split, after the last epoch.
        loss: of the training, mean over the last epoch.
        speed: None where it was not measured; then `speed_missing` says why.
    """

    name: str
    found: bool
    architecture: str
    macs: int
    parameters: int
    mean_iou: Spread
    loss: Spread
    speed: MeasuredSpeed | None = None
    speed_missing: str = ""


class ReferencesResult(Record):
    """The experiment's result (`references.json`).

    Attributes:
        space: of all networks.
        seeds: of the trainings.
        config: of every training, but for its seed.
        networks: those that were given, then the space's.
    """

    space: str
    seeds: tuple[int, ...]
    config: TrainConfig
    networks: tuple[ComparedNetwork, ...]


def compare_references(
    found: Mapping[str, ArchitectureSpec],
    folder: Path,
    config: TrainConfig,
    *,
    references: Sequence[str] | None = None,
    seeds: int = 3,
    measure: Measure | None = None,
    **how: Unpack[Execution],
) -> ReferencesResult | None:
    """Train what is not trained yet, measure all, and compare; None where it was stopped.

    Args:
        found: networks of one space, size and number of classes, by name.
        folder: gets a folder per seed and network (see `train`).
        config: of every training, but for its seed.
        references: names of the space's networks to compare with; all where None.
        seeds: how many; 0, 1, ….
        measure: called for each network after the trainings, so that they do not disturb it; none is measured where None.
        how: see `Execution`.

    Raises:
        RunFolderError: see `carry_out`.
        ExperimentError: the space names no references, or one is called as a network that was given; or see `carry_out`.
        UnknownNameError: the space names no such reference.
        InvalidSpecError: networks are of different spaces.
    """
    networks = _networks(found, references)

    def trainings() -> Iterator[Command]:
        for seed in range(seeds):
            of_seed = folder / f"seed{seed}"
            runs = [Training(of_seed / name, network) for name, network in networks.items()]
            yield from training_commands(config.model_copy(update={"seed": seed}), of_seed / CONFIG, runs)

    if not carry_out(folder, "references", None, config, [trainings], **how):
        return None
    return ReferencesResult(
        space=space_label(space_of(next(iter(found.values()))).spec),
        seeds=tuple(range(seeds)),
        config=config,
        networks=tuple(
            _compared(name, network, name in found, [folder / f"seed{seed}" / name for seed in range(seeds)], measure)
            for name, network in networks.items()
        ),
    )


def preset_config(preset: Preset, space: str, path: Path | None = None, overrides: Sequence[str] = ()) -> TrainConfig:
    """The configuration of the trainings: a file's, or else the preset's, with overrides, over what the space states.

    Raises:
        InvalidSpecError: a field is none of the configuration's, or out of range, or an override states a seed.
        OSError: the file cannot be read.
    """
    return configured(TrainConfig, space, PRESETS[preset], overrides, part="training", path=path)


def _networks(found: Mapping[str, ArchitectureSpec], names: Sequence[str] | None) -> dict[str, ArchitectureSpec]:
    """Those that were given and references of their space, by name."""
    first, *others = found.values()
    space = space_of(first)
    for other in others:
        space.plan(other)  # refuses one of another space
    if not isinstance(space, ReferenceNetworks):
        raise ExperimentError(
            f"search space {space.name!r} names no networks to compare with", hint="Compare it with `experiment random`."
        )
    references = dict(space.references())
    if unknown := [name for name in names or () if name not in references]:
        raise UnknownNameError.of("reference network", unknown[0], references)
    if shared := sorted(found.keys() & references.keys()):
        raise ExperimentError(
            f"{shared[0]!r} is the name of a reference network, too", hint="Give the file of the architecture another name."
        )
    return {**found, **{name: network for name, network in references.items() if not names or name in names}}


def _compared(
    name: str, network: ArchitectureSpec, found: bool, runs: Sequence[Path], measure: Measure | None
) -> ComparedNetwork:
    ends = [_end(run, network) for run in runs]
    speed = "no service was asked" if measure is None else measure(network)
    costs = network_costs(space_of(network).plan(network))
    return ComparedNetwork(
        name=name,
        found=found,
        architecture=network.key(),
        macs=costs.macs,
        parameters=costs.parameters,
        mean_iou=Spread.of([iou for iou, _ in ends]),
        loss=Spread.of([loss for _, loss in ends]),
        speed=None if isinstance(speed, str) else speed,
        speed_missing=speed if isinstance(speed, str) else "",
    )


def _end(run: Path, network: ArchitectureSpec) -> tuple[float, float]:
    """The mIoU and loss of a training's last epoch."""
    mean_iou, _ = read_ious(run, network, "Resume the experiment with the same architectures, or name another folder.")
    return mean_iou, last_loss(run)
