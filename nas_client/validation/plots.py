"""Figures of estimated against measured latency, as FasterSeg's Figure 3, with what that figure leaves unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas_client.plotting import INK, STYLE, save_pair
from nas_client.validation.calibration import Floats
from nas_client.validation.metrics import Agreement
from nas_client.validation.scoring import TableScore

_RAW, _CALIBRATED, _MACS = "#0b6bcb", "#d1570a", "#8c959f"


def plot_validation(score: TableScore, title: str, stem: Path) -> tuple[Path, Path]:
    """Sums, calibrated sums and the baseline against measured latency, and the relative errors of each.

    Args:
        score: what is shown.
        title: what stands above the figure, at most two lines.
        stem: path without suffix.

    Returns:
        Paths of the PNG and the SVG.
    """
    predictions = {
        "sum of table entries": (score.sum_ms, score.validation.raw, _RAW, "o"),
        "calibrated sum": (score.calibrated.prediction.ms, score.validation.calibrated, _CALIBRATED, "D"),
        "multiply-adds, fitted": (score.macs.prediction.ms, score.validation.macs, _MACS, "^"),
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.8), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=10)
        scatter, errors = figure.subplots(1, 2, width_ratios=(1.15, 1))
        _identity(scatter, [score.measured_ms, *(ms for ms, *_ in predictions.values())])
        for order, (name, (ms, agreed, colour, marker)) in enumerate(predictions.items()):
            label = f"{name}\n{_said(agreed)}"
            _points(scatter, ms, score.measured_ms, colour, marker, label, 4 - order)
            error = 100 * (ms - score.measured_ms) / score.measured_ms
            _points(errors, score.measured_ms, error, colour, marker, name, 4 - order)
        scatter.legend(loc="upper left", fontsize=8, handletextpad=0.3, labelspacing=0.7)
        _relative(errors)
        return save_pair(figure, stem)


def plot_comparison(scores: Mapping[str, TableScore], title: str, stem: Path) -> tuple[Path, Path]:
    """One panel per table, all on the same networks and with the same axes; see `plot_validation`."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.6 + 4.2 * len(scores), 4.9), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=10)
        panels = np.atleast_1d(figure.subplots(1, len(scores), sharex=True, sharey=True))
        shown = [array for score in scores.values() for array in (score.measured_ms, score.sum_ms)]
        for panel, (name, score) in zip(panels, scores.items(), strict=True):
            _identity(panel, shown)
            validation = score.validation
            calibrated = score.calibrated.prediction.ms
            _points(panel, score.sum_ms, score.measured_ms, _RAW, "o", f"sum\n{_said(validation.raw)}", 4)
            label = f"calibrated\n{_said(validation.calibrated)}"
            _points(panel, calibrated, score.measured_ms, _CALIBRATED, "D", label, 3)
            panel.set_title(name)
            panel.label_outer()
            panel.legend(loc="upper left", fontsize=8, handletextpad=0.3, labelspacing=0.7)
        return save_pair(figure, stem)


def _identity(axes: Axes, shown: list[Floats]) -> None:
    """Square axes over all that is shown, the line y = x, and ±5 % around it."""
    low, high = min(array.min() for array in shown), max(array.max() for array in shown)
    margin = 0.06 * (high - low)
    ends = np.array([max(low - margin, 0), high + margin])
    axes.fill_between(ends, ends * 0.95, ends * 1.05, color="#f1f4f7", zorder=0, linewidth=0)
    axes.plot(ends, ends, color="#c62828", linewidth=1, zorder=1)
    foot = float(ends[0] + 0.05 * np.ptp(ends))
    axes.annotate("y = x", (foot, foot), (6, -6), textcoords="offset points", color="#c62828", fontsize=8)
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="estimated latency (ms)", ylabel="measured latency (ms)")


def _relative(axes: Axes) -> None:
    axes.axhspan(-5, 5, color="#f1f4f7", zorder=0, linewidth=0)
    axes.axhline(0, color="#c62828", linewidth=1, zorder=1)
    axes.set(xlabel="measured latency (ms)", ylabel="error of the estimate (%)")


def _points(axes: Axes, x: Floats, y: Floats, colour: str, marker: str, label: str, order: int) -> None:
    axes.scatter(x, y, s=20, c=colour, marker=marker, alpha=0.75, linewidths=0.4, edgecolors="white", label=label, zorder=order)


def _said(agreed: Agreement) -> str:
    low, high = agreed.pearson_ci95
    return f"{100 * agreed.mape:.1f} % off, r = {agreed.pearson:.4f}\n({low:.4f} to {high:.4f})"
