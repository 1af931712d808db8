"""What an experiment leaves beside its runs: its result as JSON, a table in Markdown, and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.spec.base import Record
from nas_client.experiments.collapse import COLLAPSE, CollapsePoint, CollapseResult, Mode
from nas_client.experiments.latency_matched import Baseline
from nas_client.experiments.random_networks import RANDOM, RandomNetworks, RandomResult
from nas_client.plotting import INK, MUTED, SERIES, STYLE, save_pair

Rows = Sequence[Sequence[str]]
"""Headings first."""


def collapse_rows(result: CollapseResult) -> Rows:
    """Where the searches ended, mean ± deviation over seeds, and where that of the first seed began. mIoU is the supernet's."""
    headings = ("loss", "supernet (ms)", "mIoU (%)", "skips (%)", "narrowest (%)", "student (ms)")
    start = {point.seed: point for point in result.points if point.epoch == 0}
    first = next(iter(start.values()))
    rows = [
        (
            "before",
            f"{first.relaxed_ms:.3f}",
            "–" if first.mean_iou is None else f"{100 * first.mean_iou:.1f}",
            f"{100 * first.skip_share:.0f}",
            f"{100 * first.narrowest_share:.0f}",
            f"{first.estimate_ms:.3f}",
        )
    ]
    rows += [
        (
            summary.mode,
            summary.relaxed_ms.text(3),
            summary.mean_iou.text(1, factor=100),
            summary.skip_share.text(0, factor=100),
            summary.narrowest_share.text(0, factor=100),
            summary.estimate_ms.text(3),
        )
        for summary in result.summaries
    ]
    return [headings, *rows]


def write_collapse(result: CollapseResult, folder: Path) -> None:
    """`collapse.json`, `collapse.md`, and the figures `trade` and `epochs` as PNG and SVG. Raises OSError."""
    _write(result, folder / COLLAPSE, collapse_rows(result))
    save_pair(plot_trade(result), folder / "trade")
    save_pair(plot_epochs(result), folder / "epochs")


def random_rows(result: RandomResult) -> Rows:
    """By seed and over all: the found student beside the random networks of its latency."""
    kinds = tuple(result.judgements)
    headings = ("seed", "found (%)", *(f"{kind}: {what}" for kind in kinds for what in ("median (%)", "all (%)", "drawn")))
    rows = [
        (
            str(group.seed),
            f"{100 * group.found.mean_iou:.2f}",
            *(cell for kind in kinds for cell in _random_cells(group.random[kind])),
            f"{group.found.estimate_ms:.3f}",
            "" if group.teacher is None else f"{100 * group.teacher.mean_iou:.2f}",
        )
        for group in result.groups
    ]
    means = [
        (f"{100 * (result.found.mean - score.gain.mean):.2f}", score.random.text(2, factor=100), "")
        for score in result.judgements.values()
    ]
    teacher = "" if result.teacher is None else result.teacher.text(2, factor=100)
    over_all = ("mean", result.found.text(2, factor=100), *chain(*means), "", teacher)
    return [(*headings, "found (ms)", "teacher (%)"), *rows, over_all]


def _random_cells(random: RandomNetworks) -> Sequence[str]:
    ious = [100 * network.mean_iou for network in random.networks]
    return f"{100 * random.median:.2f}", f"{min(ious):.2f} to {max(ious):.2f}", f"{random.tried} for {len(ious)}"


def random_sentence(result: RandomResult) -> str:
    """The answer, in words."""
    return " ".join(
        f"Against {kind} networks the found student is above its seed's median for {score.seeds_won} of {len(result.groups)} "
        f"seeds, by {score.gain.text(2, factor=100)} points of mIoU, and above {score.beaten:.0%} of the "
        f"{len(score.random.values)} (estimates within ±{result.tolerance:.0%})."
        for kind, score in result.judgements.items()
    )


def write_random(result: RandomResult, folder: Path) -> None:
    """`random.json`, `random.md`, and the figure `random` as PNG and SVG. Raises OSError."""
    _write(result, folder / RANDOM, random_rows(result))
    save_pair(plot_random(result), folder / "random")


def _write(result: Record, path: Path, rows: Rows) -> None:
    path.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")


def markdown(rows: Rows) -> str:
    """A table."""
    headings, *others = rows
    lines = [headings, ["---"] * len(headings), *others]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


_COLOURS: dict[Mode, str] = {"naive": SERIES[1], "decoupled": SERIES[0], "none": MUTED}
_RANDOM: dict[Baseline, str] = {"sampled": MUTED, "decoded": SERIES[0]}


def plot_trade(result: CollapseResult) -> Figure:
    """The supernet's mIoU against its latency, epoch by epoch: FasterSeg's Figure 4, one panel per mode."""
    modes = [summary.mode for summary in result.summaries]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.8 + 3.4 * len(modes), 3.6), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(modes), sharex=True, sharey=True))
        for axes, mode in zip(panels, modes, strict=True):
            for seed in result.seeds:
                run = _run(result, mode, seed)
                x, y = [p.relaxed_ms for p in run], [_percent(p.mean_iou) for p in run]
                axes.plot(x, y, color=_COLOURS[mode], linewidth=0.9, alpha=0.6, zorder=2)
                sizes = np.linspace(6, 30, len(run))
                axes.scatter(x, y, s=sizes, color=_COLOURS[mode], linewidths=0, zorder=3)
                axes.annotate(f"seed {seed}", (x[-1], y[-1]), (4, 3), textcoords="offset points", color=INK, fontsize=7)
                axes.scatter(x[:1], y[:1], s=36, facecolors="none", edgecolors=INK, linewidths=0.8, zorder=4)
            axes.set(title=mode, xlabel="latency of the supernet (ms)", ylabel="mIoU of the supernet (%)")
            axes.label_outer()
            axes.margins(0.12)
    return figure


def plot_epochs(result: CollapseResult) -> Figure:
    """Latency, mIoU, and the shares of skips and of the narrowest width over epochs: thin each seed, thick their mean."""
    values: dict[str, Callable[[CollapsePoint], float]] = {
        "latency of the supernet (ms)": lambda p: p.relaxed_ms,
        "mIoU of the supernet (%)": lambda p: _percent(p.mean_iou),
        "share of skips (%)": lambda p: 100 * p.skip_share,
        "share of the narrowest width (%)": lambda p: 100 * p.narrowest_share,
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 5.6), layout="constrained")
        for axes, (name, value) in zip(figure.subplots(2, 2).flat, values.items(), strict=True):
            for summary in result.summaries:
                runs = [[value(point) for point in _run(result, summary.mode, seed)] for seed in result.seeds]
                _lines(axes, runs, summary.mode)
            axes.set(title=name, xlabel="epoch of the search")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.margins(y=0.12)
        figure.axes[0].legend(fontsize=8)
    return figure


def plot_random(result: RandomResult) -> Figure:
    """Every trained network: mIoU by seed, and against the estimate. Random networks of each kind stand beside each other."""
    kinds = list(result.judgements)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.8, 3.8), layout="constrained")
        by_seed, by_latency = figure.subplots(1, 2, sharey=True)
        for index, group in enumerate(result.groups):
            first = index == 0  # what stands in the legend, once
            for number, kind in enumerate(kinds):
                random, x = group.random[kind], index + 0.3 * (number - (len(kinds) - 1) / 2)
                ious, ms = [100 * n.mean_iou for n in random.networks], [n.estimate_ms for n in random.networks]
                name, colour = kind if first else None, _RANDOM[kind]
                by_seed.scatter([x] * len(ious), ious, s=22, color=colour, alpha=0.8, linewidths=0, label=name)
                by_latency.scatter(ms, ious, s=22, color=colour, alpha=0.8, linewidths=0)
                line, median = [x - 0.1, x + 0.1], "median" if first and number == 0 else None
                by_seed.plot(line, [100 * random.median] * 2, color=INK, linewidth=1.2, label=median)
            iou, found = 100 * group.found.mean_iou, "found" if first else None
            for axes, x in ((by_seed, index), (by_latency, group.found.estimate_ms)):
                axes.scatter([x], [iou], s=60, marker="*", color=SERIES[1], zorder=4, label=found)
        by_seed.set(xlabel="seed", ylabel="mIoU after training (%)", xlim=(-0.6, len(result.groups) - 0.4))
        by_seed.set_xticks(range(len(result.groups)), [str(group.seed) for group in result.groups])
        by_latency.set(xlabel="estimated latency (ms)")
        by_seed.legend(fontsize=8)
        for axes in (by_seed, by_latency):
            axes.margins(y=0.12)
    return figure


def _lines(axes: Axes, runs: Sequence[Sequence[float]], mode: Mode) -> None:
    for run in runs:
        axes.plot(run, color=_COLOURS[mode], linewidth=0.7, alpha=0.45)
    axes.plot(np.mean(np.asarray(runs), axis=0), color=_COLOURS[mode], linewidth=2, label=mode)


def _run(result: CollapseResult, mode: Mode, seed: int) -> list[CollapsePoint]:
    return [point for point in result.points if point.mode == mode and point.seed == seed]


def _percent(value: float | None) -> float:
    return float("nan") if value is None else 100 * value
