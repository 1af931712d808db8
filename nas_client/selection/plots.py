"""The figure of a selection: every candidate by latency and accuracy, the front, and what was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from nas_client.plotting import GRID, INK, MUTED, SERIES, STYLE
from nas_client.selection.candidates import Candidate

if TYPE_CHECKING:
    from nas_client.selection.outcome import SelectionResult


def plot_front(result: SelectionResult, candidates: Sequence[Candidate]) -> Figure:
    """Accuracy within the supernet against estimated latency; short trainings beside it.

    Args:
        result: front and chosen networks.
        candidates: all of them.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        axes.scatter(
            [c.latency_ms for c in candidates],
            [100 * c.accuracy for c in candidates],
            s=8,
            color=MUTED,
            alpha=0.5,
            linewidths=0,
            label="candidates",
        )
        axes.errorbar(
            [c.latency_ms for c in result.front],
            [100 * c.accuracy for c in result.front],
            xerr=[c.stderr_ms for c in result.front],
            color=SERIES[0],
            marker="o",
            markersize=4,
            linewidth=1.2,
            elinewidth=0.8,
            drawstyle="steps-post",
            label="front, ± one standard error",
        )
        if result.trained:
            axes.scatter(
                [c.latency_ms for c in result.trained],
                [100 * (c.trained or 0.0) for c in result.trained],
                s=22,
                marker="^",
                color=SERIES[1],
                linewidths=0,
                label="after a short training",
            )
        for colour, (goal, candidate) in zip(SERIES[2:] * len(result.chosen), result.chosen.items(), strict=False):
            label = f"chosen: {goal}"
            place = [candidate.latency_ms], [100 * candidate.accuracy]
            axes.scatter(*place, s=90, marker="*", color=colour, edgecolors=INK, linewidths=0.6, label=label, zorder=4)
            if goal != "front":
                axes.axvline(float(goal.split()[0]), color=GRID, linewidth=1, zorder=0)
        axes.set(xlabel="estimated latency (ms)", ylabel="mIoU on the images of selection (%)")
        axes.set_title(f"Candidates by {result.target}")
        axes.legend(fontsize=8, loc="lower right")
    return figure
