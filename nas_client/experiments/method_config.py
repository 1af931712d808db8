"""What the experiment on methods is configured by, and what each of its presets changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from models.spaces.search_defaults import Count, Fraction, Positive
from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from nas_client.errors import ExperimentError
from nas_client.experiments import collapse, random_networks
from nas_client.experiments.latency_budget import LatencyBudget, targets
from nas_client.experiments.presets import configured
from nas_client.search.config import SearchConfig
from nas_client.table import LookupTable
from nas_client.train.config import TrainConfig

Method = Literal["evolution", "gradient", "best_of", "earliest"]
METHODS: tuple[Method, ...] = get_args(Method)
RANDOM = "random"
Preset = Literal["toy", "cpu", "cpu-cells"]


class MethodsConfig(Record):
    """The configuration of all searches and trainings, but for their seeds.

    Attributes:
        search: of the searches by gradients and by evolution; method, targets, seed and `evaluation.split` are set for each.
            Its `selection.training` trains the candidates of `best_of`, too.
        training: of every network that is compared.
        targets_ms: latencies at which networks are compared; where none is stated, those of `quantiles`.
        quantiles: shares of random networks that are at most as slow as a target.
        tolerance: how far from a target an estimate may be, as a fraction of what the target leaves beyond the latency that
            all networks have in common. Random networks are slower than the target by at most this, never faster.
        random: networks for each seed and target.
        best_of: short trainings for each target; where null, as many as cost what a search by evolution does.
        noise_networks, noise_seeds: random networks that are trained with several seeds, and how many, for the noise.
        least_share: share of the median random network's latency that the networks must not have in common.
    """

    search: SearchConfig
    training: TrainConfig
    targets_ms: tuple[Positive, ...] = ()
    quantiles: Annotated[tuple[Fraction, ...], Field(min_length=1)] = (0.5,)
    tolerance: Annotated[float, Field(gt=0, le=1)] = 0.1
    random: Annotated[int, Field(ge=1, le=1000)] = 6
    best_of: Count | None = None
    noise_networks: Annotated[int, Field(ge=1, le=1000)] = 4
    noise_seeds: Annotated[int, Field(ge=2, le=100)] = 3
    least_share: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _enough_networks(self) -> Self:
        targets_ = len(self.targets_ms or self.quantiles)
        if len(set(self.targets_ms)) < len(self.targets_ms):
            raise InvalidSpecError("each target of targets_ms must be given once")
        if self.noise_networks > self.random * targets_:
            raise InvalidSpecError(
                f"noise_networks: {self.noise_networks}, but one seed has {self.random * targets_} random networks",
                hint="Set random to more, or noise_networks to fewer.",
            )
        return self


_SMALL: Mapping[str, Any] = {
    **collapse.PRESETS["cpu"],
    "selection": {"sigmas": 0.0},
}
_WIDE: Mapping[str, Any] = {"image_size": [128, 256], "train_images": 240, "val_images": 80, "cache": True}
_TOY_DATA: Mapping[str, Any] = {"image_size": [64, 64], "train_images": 8, "val_images": 2, "cache": True}
PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "toy": {
        "search": {
            "data": _TOY_DATA,
            "image_scale": 1.0,
            "scales": [1.0],
            "label_stride": 8,
            "pretrain": {"epochs": 1, "batch_size": 2, "crop": [64, 64], "random_widths": 0},
            "search": {"epochs": 1, "batch_size": 2, "crop": [64, 64]},
            "evaluation": {"batch_size": 2, "statistics_batches": 1},
            "selection": {
                "sigmas": 0.0,
                "images": 2,
                "population": 4,
                "generations": 1,
                "parents": 2,
                "shortlist": 1,
                "check": 0,
                "training": {"epochs": 1},
            },
        },
        "training": {
            "data": _TOY_DATA,
            "scales": [1.0],
            "label_stride": 8,
            "batch_size": 4,
            "epochs": 1,
            "validation": {"batch_size": 2, "statistics_batches": 1},
        },
        "tolerance": 0.5,
        "random": 2,
        "noise_networks": 1,
        "noise_seeds": 2,
    },
    "cpu": {"search": _SMALL, "training": random_networks.PRESETS["cpu"]},
    "cpu-cells": {
        "search": {
            **_SMALL,
            "data": _WIDE,
            "pretrain": {**_SMALL["pretrain"], "crop": [128, 256]},
            "search": {**_SMALL["search"], "crop": [128, 256]},
            "selection": {**_SMALL["selection"], "images": 48},
        },
        "training": {**random_networks.PRESETS["cpu"], "data": _WIDE},
        "quantiles": [0.1, 0.5],
        "least_share": 0.4,
    },
}
"""What each preset changes of the space's defaults. `toy` shows that everything runs, and nothing else. In `cpu-cells` the
cells take most of the latency, and few random networks meet the lowest target."""

_OWN = (
    "search.method",
    "search.selection.latency_ms",
    "search.selection.front",
    "search.latency.target_ms",
    "search.evaluation.split",
    "training.held_out",
)


def require_supernets(config: MethodsConfig, methods: Sequence[Method]) -> None:
    """Raises InvalidSpecError where methods select from a supernet that nothing would train."""
    selecting = [method for method in methods if method in ("evolution", "gradient")]
    if selecting and not config.search.pretrain.epochs:
        raise InvalidSpecError(
            f"search.pretrain.epochs: 0, so that nothing trains the supernet of {' and '.join(selecting)}",
            hint="Set search.pretrain.epochs to 1 or more, or leave out what needs it by --method.",
        )


def preset_config(
    preset: Preset, table: LookupTable, budget: LatencyBudget, overrides: Sequence[str] = (), latency_ms: Sequence[float] = ()
) -> MethodsConfig:
    """The configuration on that table, its targets stated; λ and weights are as in the experiment on collapse.

    Args:
        preset: what is changed of the space's defaults.
        table: complete.
        budget: of the table.
        overrides: fields, as `search.search.epochs=5`, `training.epochs=5` and `random=8`.
        latency_ms: targets; those of the preset where there are none.

    Raises:
        InvalidSpecError: an override is none of the configuration's, or the experiment sets it itself.
        ExperimentError: networks of the table have more of their latency in common than the preset allows, or a target leaves
            no budget.
        MissingEntryError: the table is not complete.
    """
    for override in overrides:
        if (name := override.partition("=")[0]) in _OWN:
            raise InvalidSpecError(
                f"{override!r}: the experiment sets {name} itself", hint="Take --method or --latency-ms instead."
            )
    search = {**PRESETS[preset]["search"], "latency": collapse.published_latency(table)}
    stated = [*overrides, *([f"targets_ms={list(latency_ms)}"] if latency_ms else ())]
    config = configured(MethodsConfig, table.info.space.name, {**PRESETS[preset], "search": search}, stated)
    if budget.share < config.least_share:
        raise ExperimentError(
            f"networks of {table.info.space.label()} have {1 - budget.share:.0%} of their latency in common; with least_share "
            f"{config.least_share:g} it may be at most {1 - config.least_share:.0%}",
            hint="Take a table of wider or deeper networks, or state --set least_share=0.",
        )
    chosen = targets(budget, config.targets_ms, config.quantiles)
    for target_ms in chosen:
        budget.width_ms(target_ms, config.tolerance)
    return config.model_copy(update={"targets_ms": chosen})
