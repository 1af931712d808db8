"""What the experiment on collapse shows: where the searches ended, and how they went."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas_client.experiments.collapse import CollapsePoint, CollapseResult, Mode, mode_summary
from nas_client.experiments.experiment import Experiment, Plot, Points, Rows
from nas_client.plotting import INK, MUTED, SERIES, STYLE


def collapse_rows(result: CollapseResult) -> Rows:
    """Where the searches began and ended, mean ± deviation over seeds. mIoU is the supernet's."""
    headings = ("loss", "supernet (ms)", "mIoU (%)", "skips (%)", "narrowest (%)", "student (ms)")
    first = {point.seed: point for point in result.points if point.epoch == 0}
    before = mode_summary(result.summaries[0].mode, tuple(first.values()))  # all modes begin with the same supernets
    rows = [
        (
            name,
            summary.relaxed_ms.text(3),
            summary.mean_iou.text(1, factor=100),
            summary.skip_share.text(0, factor=100),
            summary.narrowest_share.text(0, factor=100),
            summary.estimate_ms.text(3),
        )
        for name, summary in (("before", before), *((summary.mode, summary) for summary in result.summaries))
    ]
    return [headings, *rows]


def collapse_points(result: CollapseResult) -> Rows:
    """Every search after every epoch."""
    headings = ("seed", "loss", "epoch", "supernet (ms)", "mIoU (%)", "skips (%)", "narrowest (%)", "student (ms)")
    rows = [
        (
            str(point.seed),
            point.mode,
            str(point.epoch),
            f"{point.relaxed_ms:#.4g}",
            _iou(point.mean_iou),
            f"{100 * point.skip_share:.0f}",
            f"{100 * point.narrowest_share:.0f}",
            f"{point.estimate_ms:#.4g}",
        )
        for point in result.points
    ]
    return [headings, *rows]


def collapse_words(result: CollapseResult) -> str:
    """What was done, and how its figures are read."""
    return (
        f"For each of {len(result.seeds)} seeds one pre-trained supernet, from which every latency loss searches with "
        f"the same seed; λ = {result.config.latency.factor:g}. Circles: before the search; points grow with the epochs."
    )


_COLOURS: dict[Mode, str] = {"naive": SERIES[1], "decoupled": SERIES[0], "none": MUTED}


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


def _lines(axes: Axes, runs: Sequence[Sequence[float]], mode: Mode) -> None:
    for run in runs:
        axes.plot(run, color=_COLOURS[mode], linewidth=0.7, alpha=0.45)
    axes.plot(np.mean(np.asarray(runs), axis=0), color=_COLOURS[mode], linewidth=2, label=mode)


def _run(result: CollapseResult, mode: Mode, seed: int) -> list[CollapsePoint]:
    return [point for point in result.points if point.mode == mode and point.seed == seed]


def _percent(value: float | None) -> float:
    return float("nan") if value is None else 100 * value


def _iou(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


COLLAPSE = Experiment(
    name="collapse",
    title="collapse",
    result=CollapseResult,
    words=collapse_words,
    rows=collapse_rows,
    caption="Where the searches ended: mean ± standard deviation over seeds. mIoU is the supernet's.",
    plots=(
        Plot("trade", plot_trade, "The supernet's mIoU against its latency, epoch by epoch."),
        Plot("epochs", plot_epochs, "Thin: each seed; thick: their mean."),
    ),
    points=Points(collapse_points, caption="All points; epoch 0 is before the search."),
)
