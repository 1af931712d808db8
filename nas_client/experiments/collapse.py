"""Does a search with naive latency optimisation collapse to light operators and narrow widths, and a decoupled one not?

For each seed the supernet is pre-trained once; every mode of the latency loss then searches from these weights, with the same
seed: the same first logits, images and noise.

Source: FasterSeg, section 3.2 and Figure 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, Unpack, get_args

import torch

from models.spaces.registry import create_space
from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from nas_client.errors import ExperimentError
from nas_client.experiments.execution import TABLE, Execution, carry_out
from nas_client.experiments.presets import configured
from nas_client.experiments.results import latencies_of
from nas_client.experiments.runs import Search, pretraining_of, search_commands
from nas_client.experiments.spread import Spread
from nas_client.latency.coefficients import coefficients_of
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.latency.relaxed import RelaxedLatency
from nas_client.runs.journal import read_journal
from nas_client.search.config import SearchConfig
from nas_client.search.epochs import SearchEpoch
from nas_client.table import LookupTable

Mode = Literal["naive", "decoupled", "none"]
MODES: tuple[Mode, ...] = get_args(Mode)
Preset = Literal["cpu", "gpu"]

PUBLISHED_LATENCY_SHARE = 0.163
"""λ times the latency of the untrained supernet in the paper: 0.01 · 16.3 ms, by its published table, three outputs summed.
Elsewhere, or for smaller networks, the same λ would weigh latency by chance; the experiment has that λ which gives this."""

PRETRAINING = "pretrain"

PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "cpu": {
        "data": {"image_size": [64, 128], "train_images": 320, "val_images": 60, "cache": True},
        "image_scale": 1.0,
        "scales": [1.0],
        "label_stride": 8,
        "pretrain": {"epochs": 10, "batch_size": 8, "crop": [64, 128], "optimizer": {"lr": 0.05}},
        "search": {
            "epochs": 10,
            "batch_size": 8,
            "crop": [64, 128],
            "optimizer": {"lr": 0.05},
            "architecture": {"lr": 0.04},
        },
        "evaluation": {"batch_size": 8, "statistics_batches": 6},
    },
    "gpu": {
        "data": {"image_size": [256, 512], "train_images": 2000, "val_images": 200},
        "image_scale": 1.0,
        "workers": 8,
        "pretrain": {"epochs": 20, "batch_size": 8, "crop": [256, 512]},
        "search": {"epochs": 30, "batch_size": 8, "crop": [256, 512], "architecture": {"lr": 2e-3}},
        "evaluation": {"batch_size": 8},
    },
}
"""What each preset changes of the paper's configuration. The logits' learning rates are the paper's 3e-4, times how many times
fewer steps there are: its 30 epochs have some 22,000, so that logits could go as far."""


class CollapsePoint(Record):
    """One search after one epoch. Means are over the alternatives.

    Attributes:
        epoch: of the search; 0 is before it, after pre-training.
        relaxed_ms: the supernet's latency, all granularities free.
        mean_iou: of the supernet as the student.
        skip_share, narrowest_share: in the decoded students, see `Decoded`; means.
        estimate_ms: of the decoded students, mean.
        entropy: mean over rows, by granularity.
    """

    seed: int
    mode: Mode
    epoch: int
    relaxed_ms: float
    mean_iou: float | None
    skip_share: float
    narrowest_share: float
    estimate_ms: float
    entropy: dict[str, float]


class ModeSummary(Record):
    """Where the searches of one mode ended, over seeds; see `CollapsePoint`."""

    mode: Mode
    relaxed_ms: Spread
    mean_iou: Spread
    skip_share: Spread
    narrowest_share: Spread
    estimate_ms: Spread


class CollapseResult(Record):
    """The experiment's result (`collapse.json`).

    Attributes:
        table, target, space: which latencies.
        config: of every search, but for its seed and mode.
        points: of all searches, epoch by epoch.
        summaries: by mode.
    """

    table: str
    target: str
    space: str
    preset: Preset
    seeds: tuple[int, ...]
    config: SearchConfig
    points: tuple[CollapsePoint, ...]
    summaries: tuple[ModeSummary, ...]


def collapse(
    table: LookupTable,
    folder: Path,
    *,
    preset: Preset = "cpu",
    seeds: int = 3,
    modes: Sequence[Mode] = MODES,
    overrides: Sequence[str] = (),
    **how: Unpack[Execution],
) -> CollapseResult | None:
    """Run what is not done yet, and compare all of it; None where it was stopped.

    Args:
        table: of the search space, complete.
        folder: gets a folder per seed and mode (see `search`).
        preset: size of the searches.
        seeds: how many; 0, 1, ….
        modes: of the latency loss.
        overrides: fields of the preset's configuration, as `search.epochs=5`.
        how: see `Execution`.

    Raises:
        RunFolderError: see `carry_out`.
        ExperimentError: the validation images have no labels; or see `carry_out`.
        InvalidSpecError: an override is none of the configuration's.
        MissingEntryError: the table is not complete.
    """
    config = preset_config(preset, table, overrides)
    _require_own_fields(config, overrides)
    searches = [search for seed in range(seeds) for search in _searches(folder, config, seed, modes)]
    if not carry_out(folder, "collapse", table, config, [lambda: search_commands(searches)], **how):
        return None
    searched = create_space(table.info.space).searched_role().name
    points = tuple(point for seed in range(seeds) for mode in modes for point in _points(folder, seed, mode, searched))
    return CollapseResult(
        **latencies_of(table),
        preset=preset,
        seeds=tuple(range(seeds)),
        config=config,
        points=points,
        summaries=tuple(mode_summary(mode, _ends(mode, points)) for mode in modes),
    )


def preset_config(preset: Preset, table: LookupTable, overrides: Sequence[str] = ()) -> SearchConfig:
    """The configuration of the searches on that table, but for what an override states.

    Raises:
        InvalidSpecError: an override is none of the configuration's, or states a seed.
        MissingEntryError: the table is not complete.
    """
    fields = {**PRESETS[preset], "latency": published_latency(table)}
    return configured(SearchConfig, table.info.space.name, fields, overrides, part="search")


def published_latency(table: LookupTable) -> dict[str, Any]:
    """What is configured of the latency loss: λ from `PUBLISHED_LATENCY_SHARE`; and weights that balance this table's
    sensitivities, as the paper's balance its own. Raises MissingEntryError.
    """
    return {"factor": float(f"{PUBLISHED_LATENCY_SHARE / untrained_ms(table):.4g}"), "weights": "solved"}


def _require_own_fields(config: SearchConfig, overrides: Sequence[str]) -> None:
    """Raises InvalidSpecError for what the experiment itself decides, and for a pre-training that nothing could start from."""
    for override in overrides:
        name = override.partition("=")[0]
        if name == "latency.mode":
            raise InvalidSpecError(f"{override!r}: the experiment sets {name} itself", hint="Choose --mode instead.")
    for phase in ("pretrain", "search"):
        if not getattr(config, phase).epochs:
            raise InvalidSpecError(f"{phase}.epochs: 0; every search needs both phases here", hint="Take 1 or more.")


def untrained_ms(table: LookupTable) -> float:
    """Latency of the supernet with all choices equally likely, summed over all outputs. Raises MissingEntryError."""
    relaxed = RelaxedLatency(coefficients_of(table), dtype=torch.float64)
    return float(relaxed(ArchitectureParameters.zeros(relaxed.shapes, dtype=torch.float64)))


def _searches(folder: Path, config: SearchConfig, seed: int, modes: Sequence[Mode]) -> Iterator[Search]:
    """A seed's pre-training, and the search of each mode from there."""
    seeded = config.model_copy(update={"seed": seed})
    pretraining = Search(_run(folder, seed, PRETRAINING), pretraining_of(seeded), folder / TABLE)
    yield pretraining
    for mode in modes:
        own = seeded.model_copy(update={"latency": config.latency.model_copy(update={"mode": mode})})
        yield Search(_run(folder, seed, mode), own, folder / TABLE, pretraining)


def _run(folder: Path, seed: int, name: str) -> Path:
    return folder / f"seed{seed}" / name


def _points(folder: Path, seed: int, mode: Mode, searched: str) -> Iterator[CollapsePoint]:
    before = read_journal(_run(folder, seed, PRETRAINING), SearchEpoch)[-1]
    epochs = [before, *read_journal(_run(folder, seed, mode), SearchEpoch)]
    return (_point(seed, mode, index, epoch, searched) for index, epoch in enumerate(epochs))


def _point(seed: int, mode: Mode, index: int, epoch: SearchEpoch, searched: str) -> CollapsePoint:
    networks = epoch.decoded[searched]
    ious = [value for value in epoch.mean_iou.get(searched, {}).values() if value is not None]
    return CollapsePoint(
        seed=seed,
        mode=mode,
        epoch=index,
        relaxed_ms=epoch.latency.relaxed_ms,
        mean_iou=fmean(ious) if ious else None,
        skip_share=fmean(network.skip_share for network in networks),
        narrowest_share=fmean(network.narrowest_share for network in networks),
        estimate_ms=fmean(network.estimate_ms for network in networks),
        entropy=dict(epoch.entropy[searched]),
    )


def _ends(mode: Mode, points: Sequence[CollapsePoint]) -> list[CollapsePoint]:
    last = max(point.epoch for point in points)
    return [point for point in points if point.mode == mode and point.epoch == last]


def mode_summary(mode: Mode, ends: Sequence[CollapsePoint]) -> ModeSummary:
    """Over one point of each seed. Raises ExperimentError where one has no mIoU."""
    if any(point.mean_iou is None for point in ends):
        raise ExperimentError("no mIoU: the validation images have no labels", hint="Name a split with labels.")
    fields = ("relaxed_ms", "mean_iou", "skip_share", "narrowest_share", "estimate_ms")
    return ModeSummary(mode=mode, **{name: Spread.of([getattr(point, name) for point in ends]) for name in fields})
