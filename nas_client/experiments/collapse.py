"""Does a search with naive latency optimisation collapse to light operators and narrow widths, and a decoupled one not?

For each seed the supernet is pre-trained once; every mode of the latency loss then searches from these weights, with the same
seed: the same first logits, images and noise.

Source: FasterSeg, section 3.2 and Figure 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_args

import torch

from models.spaces.registry import space_class
from models.spaces.search_defaults import SearchDefaults
from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from nas_client.experiments.execution import (
    TABLE,
    Command,
    Progress,
    begin,
    flat,
    is_finished,
    run_commands,
    without_other_rates,
)
from nas_client.experiments.spread import Spread
from nas_client.latency.coefficients import coefficients_of
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.latency.relaxed import RelaxedLatency
from nas_client.runs.config import read_config, write_config
from nas_client.runs.journal import read_journal
from nas_client.search.config import SearchConfig
from nas_client.search.epochs import SearchEpoch
from nas_client.table import LookupTable

Mode = Literal["naive", "decoupled", "none"]
MODES: tuple[Mode, ...] = get_args(Mode)
Preset = Literal["cpu", "gpu"]

COLLAPSE = "collapse.json"
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
    at_once: int = 1,
    resume: bool = False,
    progress: Progress | None = None,
) -> CollapseResult | None:
    """Run what is not done yet, and compare all of it; None where it was stopped.

    Args:
        table: of the search space, complete.
        folder: gets a folder per seed and mode (see `search`).
        preset: size of the searches.
        seeds: how many; 0, 1, ….
        modes: of the latency loss.
        overrides: fields of the preset's configuration, as `search.epochs=5`.
        at_once: searches at a time, each then with one thread.
        resume: go on with the experiment in the folder.
        progress: see `run_commands`.

    Raises:
        RunFolderError: the folder holds another kind of run.
        ExperimentError: a search failed; or the folder holds an experiment and `resume` is not set, or another one.
        InvalidSpecError: an override is none of the configuration's.
        MissingEntryError: the table is not complete.
    """
    config = preset_config(preset, table, overrides)
    _require_own_fields(config, overrides)
    begin(folder, "collapse", table, config, resume=resume)
    commands = list(_commands(folder, config, seeds, modes))
    if not run_commands(commands, at_once=at_once, progress=progress):
        return None
    points = tuple(point for seed in range(seeds) for mode in modes for point in _points(folder, seed, mode))
    info = table.info
    return CollapseResult(
        table=info.id(),
        target=info.target.label(),
        space=info.space.label(),
        preset=preset,
        seeds=tuple(range(seeds)),
        config=config,
        points=points,
        summaries=tuple(_summary(mode, points) for mode in modes),
    )


def preset_config(preset: Preset, table: LookupTable, overrides: Sequence[str] = ()) -> SearchConfig:
    """The configuration of the searches on that table, but for what an override states.

    λ is from `PUBLISHED_LATENCY_SHARE`; the weights balance this table's sensitivities, as the paper's balance its own.

    Raises:
        InvalidSpecError: an override is none of the configuration's.
        MissingEntryError: the table is not complete.
    """
    factor = PUBLISHED_LATENCY_SHARE / untrained_ms(table)
    fields: Mapping[str, Any] = {**PRESETS[preset], "latency": {"factor": float(f"{factor:.4g}"), "weights": "solved"}}
    defaults = space_class(table.info.space.name).search_defaults.model_dump(exclude={"training"})
    fields = without_other_rates(fields, defaults, SearchDefaults().model_dump())
    return read_config(SearchConfig, None, [*flat(fields), *overrides], base=defaults)


def _require_own_fields(config: SearchConfig, overrides: Sequence[str]) -> None:
    """Raises InvalidSpecError for what the experiment itself decides, and for a pre-training that nothing could start from."""
    for override in overrides:
        name = override.partition("=")[0]
        if name in ("seed", "latency.mode"):
            raise InvalidSpecError(
                f"{override!r}: the experiment sets {name} itself", hint="Choose --seeds and --mode instead."
            )
    for phase in ("pretrain", "search"):
        if not getattr(config, phase).epochs:
            raise InvalidSpecError(f"{phase}.epochs: 0; every search needs both phases here", hint="Take 1 or more.")


def untrained_ms(table: LookupTable) -> float:
    """Latency of the supernet with all choices equally likely, summed over all outputs. Raises MissingEntryError."""
    relaxed = RelaxedLatency(coefficients_of(table), dtype=torch.float64)
    return float(relaxed(ArchitectureParameters.zeros(relaxed.shapes, dtype=torch.float64)))


def _commands(folder: Path, config: SearchConfig, seeds: int, modes: Sequence[Mode]) -> Iterator[Command]:
    """The searches that are not finished; each seed's pre-training before its modes."""
    for seed in range(seeds):
        seeded = config.model_copy(update={"seed": seed})
        names = [PRETRAINING, *modes]
        left = [name for name in names if not is_finished(_run(folder, seed, name))]
        for name in left:
            run = _run(folder, seed, name)
            run.mkdir(parents=True, exist_ok=True)
            config_file = run.with_suffix(".yaml")
            write_config(_config(seeded, name), config_file)
            arguments = ["search", "--table", folder / TABLE, "--config", config_file, "--output", run, "--resume"]
            if name != PRETRAINING:
                arguments += ["--pretrained", _run(folder, seed, PRETRAINING)]
            after = {_label(seed, PRETRAINING)} & {_label(seed, other) for other in left} - {_label(seed, name)}
            yield Command(_label(seed, name), tuple(map(str, arguments)), run.with_suffix(".log"), tuple(after))


def _config(config: SearchConfig, name: str) -> SearchConfig:
    """Of a seed's pre-training alone, or of the search of that mode."""
    if name == PRETRAINING:
        evaluation = config.evaluation.model_copy(update={"every": config.pretrain.epochs})
        search = config.search.model_copy(update={"epochs": 0})
        return config.model_copy(update={"search": search, "evaluation": evaluation})
    return config.model_copy(update={"latency": config.latency.model_copy(update={"mode": name})})


def _run(folder: Path, seed: int, name: str) -> Path:
    return folder / f"seed{seed}" / name


def _label(seed: int, name: str) -> str:
    return f"seed {seed}, {name}"


def _points(folder: Path, seed: int, mode: Mode) -> Iterator[CollapsePoint]:
    before = read_journal(_run(folder, seed, PRETRAINING), SearchEpoch)[-1]
    epochs = [before, *read_journal(_run(folder, seed, mode), SearchEpoch)]
    return (_point(seed, mode, index, epoch) for index, epoch in enumerate(epochs))


def _point(seed: int, mode: Mode, index: int, epoch: SearchEpoch) -> CollapsePoint:
    searched = next(iter(epoch.decoded))  # the role whose widths are searched comes first
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


def _summary(mode: Mode, points: Sequence[CollapsePoint]) -> ModeSummary:
    last = max(point.epoch for point in points)
    ends = [point for point in points if point.mode == mode and point.epoch == last]
    fields = ("relaxed_ms", "mean_iou", "skip_share", "narrowest_share", "estimate_ms")
    return ModeSummary(mode=mode, **{name: Spread.of([getattr(point, name) for point in ends]) for name in fields})
